/*
 * replay: plays a recording of a QXL device's commands (SPICE_WORKER_RECORD_FILENAME) to clients, over and over.
 *
 *   cc -O2 -o replay replay.c $(pkg-config --cflags --libs spice-server) -lpthread
 *   ./replay --port 5930 recording        then: remote-viewer spice://127.0.0.1:5930
 *
 *   --port N      listen on 127.0.0.1:N (default 5930)
 *   --wait        begin when the first client's display has connected
 *   --delay N     microseconds between commands (default 1000)
 *   --times N     play N times (default 1), then leave
 *   --keep        serve the last picture until interrupted
 *   --quiet       no progress
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spice.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- The main loop, on the main thread. */

struct SpiceWatch {
    int fd, mask;
    SpiceWatchFunc func;
    void *opaque;
    bool removed;
    SpiceWatch *next;
};

struct SpiceTimer {
    bool armed, removed;
    int64_t due; /* milliseconds */
    SpiceTimerFunc func;
    void *opaque;
    SpiceTimer *next;
};

static SpiceWatch *watches;
static SpiceTimer *timers;
static volatile sig_atomic_t quit;
static int displays; /* connected display channels */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static SpiceWatch *watch_add(int fd, int event_mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = calloc(1, sizeof *watch);
    if (watch) {
        *watch = (SpiceWatch){ .fd = fd, .mask = event_mask, .func = func, .opaque = opaque, .next = watches };
        watches = watch;
    }
    return watch;
}

static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = calloc(1, sizeof *timer);
    if (timer) {
        *timer = (SpiceTimer){ .func = func, .opaque = opaque, .next = timers };
        timers = timer;
    }
    return timer;
}

static void watch_update_mask(SpiceWatch *watch, int event_mask) { watch->mask = event_mask; }
static void watch_remove(SpiceWatch *watch) { watch->removed = true; }
static void timer_cancel(SpiceTimer *timer) { timer->armed = false; }
static void timer_remove(SpiceTimer *timer) { timer->removed = true; }
static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now_ms() + ms;
    timer->armed = true;
}

static void free_removed(void)
{
    for (SpiceWatch **place = &watches; *place;) {
        SpiceWatch *watch = *place;
        if (watch->removed) {
            *place = watch->next;
            free(watch);
        } else {
            place = &watch->next;
        }
    }
    for (SpiceTimer **place = &timers; *place;) {
        SpiceTimer *timer = *place;
        if (timer->removed) {
            *place = timer->next;
            free(timer);
        } else {
            place = &timer->next;
        }
    }
}

/* Serves what is ready within wait milliseconds. */
static void run_once(int64_t wait)
{
    struct pollfd fds[256];
    SpiceWatch *polled[256];
    nfds_t count = 0;
    int64_t now = now_ms();

    for (SpiceWatch *watch = watches; watch && count < 256; watch = watch->next) {
        if (watch->mask) {
            short events = (watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                           (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0);
            fds[count] = (struct pollfd){ .fd = watch->fd, .events = events };
            polled[count++] = watch;
        }
    }
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->armed && timer->due - now < wait) {
            wait = timer->due > now ? timer->due - now : 0;
        }
    }
    if (poll(fds, count, wait) < 0 && errno != EINTR) {
        perror("poll");
        exit(1);
    }
    for (nfds_t i = 0; i < count; i++) {
        int event = (fds[i].revents & (POLLIN | POLLHUP | POLLERR) ? SPICE_WATCH_EVENT_READ : 0) |
                    (fds[i].revents & POLLOUT ? SPICE_WATCH_EVENT_WRITE : 0);
        event &= polled[i]->mask;
        if (event && !polled[i]->removed) {
            polled[i]->func(polled[i]->fd, event, polled[i]->opaque);
        }
    }
    now = now_ms();
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->armed && !timer->removed && timer->due <= now) {
            timer->armed = false;
            timer->func(timer->opaque);
        }
    }
    free_removed();
}

static void channel_event(int event, SpiceChannelEventInfo *info)
{
    if (info->type == SPICE_CHANNEL_DISPLAY) {
        displays += (event == SPICE_CHANNEL_EVENT_INITIALIZED) - (event == SPICE_CHANNEL_EVENT_DISCONNECTED);
    }
}

static SpiceCoreInterface core = {
    .base = { .type = SPICE_INTERFACE_CORE, .description = "poll loop", .major_version = SPICE_INTERFACE_CORE_MAJOR,
              .minor_version = SPICE_INTERFACE_CORE_MINOR },
    .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
    .watch_add = watch_add, .watch_update_mask = watch_update_mask, .watch_remove = watch_remove,
    .channel_event = channel_event,
};

/* --- The device: two rings between this program and the worker. Commands of a replay carry plain pointers. */

enum { RING = 64 };

struct Ring {
    QXLCommandExt *commands[RING];
    unsigned head, tail;
    bool asleep; /* the worker waits for a wakeup */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Ring drawing, cursor;
static SpiceReplay *replay;
static QXLInstance qxl;

static int take(struct Ring *ring, QXLCommandExt *ext)
{
    pthread_mutex_lock(&lock);
    bool some = ring->head != ring->tail;
    if (some) {
        *ext = *ring->commands[ring->tail++ % RING];
    }
    pthread_mutex_unlock(&lock);
    return some;
}

static int request_notification(struct Ring *ring)
{
    pthread_mutex_lock(&lock);
    bool armed = ring->asleep = ring->head == ring->tail;
    pthread_mutex_unlock(&lock);
    return armed;
}

static bool put(struct Ring *ring, QXLCommandExt *command)
{
    pthread_mutex_lock(&lock);
    bool room = ring->head - ring->tail < RING, wake = room && ring->asleep;
    if (room) {
        ring->commands[ring->head++ % RING] = command;
        ring->asleep = false;
    }
    pthread_mutex_unlock(&lock);
    if (wake) {
        spice_qxl_wakeup(&qxl);
    }
    return room;
}

static bool empty(void)
{
    pthread_mutex_lock(&lock);
    bool none = drawing.head == drawing.tail && cursor.head == cursor.tail;
    pthread_mutex_unlock(&lock);
    return none;
}

static void get_init_info(QXLInstance *sin, QXLDevInitInfo *info)
{
    (void)sin;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 1, .num_memslots = 1, .memslot_id_bits = 1, .memslot_gen_bits = 1,
                              .n_surfaces = 1024 };
}

static void attached_worker(QXLInstance *sin)
{
    QXLDevMemSlot slot = { .virt_start = 0, .virt_end = ~(uintptr_t)0 };
    spice_qxl_add_memslot(sin, &slot);
}

static void release_resource(QXLInstance *sin, QXLReleaseInfoExt release)
{
    (void)sin;
    spice_replay_free_cmd(replay, (QXLCommandExt *)(uintptr_t)release.info->id);
}

static int get_command(QXLInstance *sin, QXLCommandExt *ext) { (void)sin; return take(&drawing, ext); }
static int req_cmd_notification(QXLInstance *sin) { (void)sin; return request_notification(&drawing); }
static int get_cursor_command(QXLInstance *sin, QXLCommandExt *ext) { (void)sin; return take(&cursor, ext); }
static int req_cursor_notification(QXLInstance *sin) { (void)sin; return request_notification(&cursor); }
static int flush_resources(QXLInstance *sin) { (void)sin; return 0; }
static void set_compression_level(QXLInstance *sin, int level) { (void)sin, (void)level; }
static void notify_update(QXLInstance *sin, uint32_t id) { (void)sin, (void)id; }
static void async_complete(QXLInstance *sin, uint64_t cookie) { (void)sin, (void)cookie; }

static const QXLInterface qxl_interface = {
    .base = { .type = SPICE_INTERFACE_QXL, .description = "replay", .major_version = SPICE_INTERFACE_QXL_MAJOR,
              .minor_version = SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached_worker, .set_compression_level = set_compression_level, .get_init_info = get_init_info,
    .get_command = get_command, .req_cmd_notification = req_cmd_notification, .release_resource = release_resource,
    .get_cursor_command = get_cursor_command, .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update, .flush_resources = flush_resources, .async_complete = async_complete,
};

static QXLInstance qxl = { .base.sif = &qxl_interface.base };

/* --- Reading the recording is work of a thread of its own: spice_replay_next_cmd() may wait for the worker to free a
 * --- surface, and the main loop must go on meanwhile. */

struct Player {
    const char *path;
    int times, delay_us;
    bool quiet, failed;
    volatile bool done;
    long commands;
};

static void show_progress(const struct Player *player, int round, FILE *file, off_t size)
{
    long at = ftell(file);
    fprintf(stderr, "\rround %d: %3d %%, %ld commands, %d displays", round,
            size > 0 && at >= 0 ? (int)(100.0 * at / size) : 0, player->commands, displays);
}

static void *play(void *opaque)
{
    struct Player *player = opaque;

    for (int round = 1; round <= player->times && !quit; round++) {
        FILE *file = fopen(player->path, "rb");
        struct stat status = { 0 };
        if (!file || fstat(fileno(file), &status) != 0 || !(replay = spice_replay_new(file, 1024))) {
            fprintf(stderr, "%s: cannot be replayed\n", player->path);
            player->failed = true;
            break;
        }
        QXLCommandExt *command;
        while (!quit && (command = spice_replay_next_cmd(replay, &qxl))) {
            if (player->commands++ % 100 == 0 && !player->quiet) {
                show_progress(player, round, file, status.st_size);
            }
            while (!put(command->cmd.type == QXL_CMD_CURSOR ? &cursor : &drawing, command)) {
                usleep(500);
            }
            if (player->delay_us) {
                usleep(player->delay_us);
            }
        }
        while (!quit && !empty()) {
            usleep(1000);
        }
        /* All surfaces go, so all commands come back, before the replay that they belong to is freed. */
        if (round < player->times && !quit) {
            spice_qxl_destroy_surfaces(&qxl);
            spice_qxl_reset_cursor(&qxl);
            SpiceReplay *old = replay;
            spice_replay_free(old);
        }
    }
    if (!player->quiet) {
        fputc('\n', stderr);
    }
    player->done = true;
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
    quit = 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "port", required_argument, NULL, 'p' },
                                             { "wait", no_argument, NULL, 'w' },
                                             { "delay", required_argument, NULL, 'd' },
                                             { "times", required_argument, NULL, 't' },
                                             { "keep", no_argument, NULL, 'k' },
                                             { "quiet", no_argument, NULL, 'q' },
                                             { 0 } };
    struct Player player = { .times = 1, .delay_us = 1000 };
    int port = 5930, option;
    bool wait = false, keep = false;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'w': wait = true; break;
        case 'd': player.delay_us = atoi(optarg); break;
        case 't': player.times = atoi(optarg); break;
        case 'k': keep = true; break;
        case 'q': player.quiet = true; break;
        default: optind = argc + 1;
        }
    }
    if (optind != argc - 1) {
        fprintf(stderr, "usage: %s [--port N] [--wait] [--delay US] [--times N] [--keep] [--quiet] RECORDING\n", argv[0]);
        return 2;
    }
    player.path = argv[optind];
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    SpiceServer *server = spice_server_new();
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, port);
    spice_server_set_noauth(server);
    if (spice_server_init(server, &core) != 0 || spice_server_add_interface(server, &qxl.base) != 0) {
        fprintf(stderr, "cannot start the server on port %d\n", port);
        return 1;
    }
    spice_server_vm_start(server);
    while (wait && !displays && !quit) {
        run_once(100);
    }

    pthread_t thread;
    if (pthread_create(&thread, NULL, play, &player) != 0) {
        perror("pthread_create");
        return 1;
    }
    while (!player.done || (keep && !quit && !player.failed)) {
        run_once(100);
    }
    pthread_join(thread, NULL);
    spice_server_vm_stop(server);
    spice_server_remove_interface(&qxl.base);
    spice_server_destroy(server);
    if (replay) {
        spice_replay_free(replay);
    }
    free_removed();
    printf("%ld commands\n", player.commands);
    return player.failed;
}
