/*
 * minimal-host: a whole SPICE server in one file. A QXL device draws a moving test pattern, keys and pointer are printed.
 *
 *   cc -O2 -o minimal-host minimal-host.c $(pkg-config --cflags --libs spice-server) -lpthread
 *   ./minimal-host --port 5930            then: remote-viewer spice://127.0.0.1:5930
 *
 *   --port N      listen on 127.0.0.1:N (0: any free port, for trials without a client)
 *   --password P  ask clients for it
 *   --frames N    leave after N frames instead of serving for ever
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
#include <time.h>

/* --- The main loop: what a hypervisor has anyway. Watches and timers in lists; those that are removed while the
 * --- lists are walked are only marked, and freed afterwards. */

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

static void watch_update_mask(SpiceWatch *watch, int event_mask)
{
    watch->mask = event_mask;
}

static void watch_remove(SpiceWatch *watch)
{
    watch->removed = true;
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

static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now_ms() + ms;
    timer->armed = true;
}

static void timer_cancel(SpiceTimer *timer)
{
    timer->armed = false;
}

static void timer_remove(SpiceTimer *timer)
{
    timer->removed = true;
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

static void run_once(void)
{
    struct pollfd fds[256];
    SpiceWatch *polled[256];
    nfds_t count = 0;
    int64_t now = now_ms(), wait = 1000;

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
    static const char *const names[] = { "", "connected", "initialized", "disconnected" };
    printf("channel %d:%d of session %#x %s\n", info->type, info->id, (unsigned)info->connection_id, names[event]);
}

static SpiceCoreInterface core = {
    .base = { .type = SPICE_INTERFACE_CORE, .description = "poll loop", .major_version = SPICE_INTERFACE_CORE_MAJOR,
              .minor_version = SPICE_INTERFACE_CORE_MINOR },
    .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
    .watch_add = watch_add, .watch_update_mask = watch_update_mask, .watch_remove = watch_remove,
    .channel_event = channel_event,
};

/* --- The graphics device. Addresses are plain pointers: one memslot covers everything. The worker thread of the
 * --- library takes commands from a queue and gives them back to be freed. */

enum { WIDTH = 640, HEIGHT = 480, SIDE = 64, QUEUE = 32 };

static uint32_t screen[WIDTH * HEIGHT];

/* A drawing command and all that it points to, in one allocation. */
struct Draw {
    QXLCommandExt ext;
    QXLDrawable drawable;
    QXLImage image;
    uint32_t pixels[SIDE * SIDE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Draw *queue[QUEUE];
static unsigned head, tail;
static bool asleep;

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 1, .num_memslots = 1, .memslot_id_bits = 1, .memslot_gen_bits = 1,
                              .n_surfaces = 1 };
}

static void attached_worker(QXLInstance *qxl)
{
    QXLDevMemSlot slot = { .virt_start = 0, .virt_end = ~(uintptr_t)0 };
    spice_qxl_add_memslot(qxl, &slot);
}

static int get_command(QXLInstance *qxl, QXLCommandExt *ext)
{
    (void)qxl;
    pthread_mutex_lock(&lock);
    bool some = head != tail;
    if (some) {
        *ext = queue[tail++ % QUEUE]->ext;
    }
    pthread_mutex_unlock(&lock);
    return some;
}

static int req_cmd_notification(QXLInstance *qxl)
{
    (void)qxl;
    pthread_mutex_lock(&lock);
    asleep = head == tail;
    bool armed = asleep;
    pthread_mutex_unlock(&lock);
    return armed;
}

static void release_resource(QXLInstance *qxl, QXLReleaseInfoExt release)
{
    (void)qxl;
    free((void *)(uintptr_t)release.info->id);
}

static int get_cursor_command(QXLInstance *qxl, QXLCommandExt *ext)
{
    (void)qxl, (void)ext;
    return 0;
}

static int req_cursor_notification(QXLInstance *qxl)
{
    (void)qxl;
    return 1;
}

static int flush_resources(QXLInstance *qxl)
{
    (void)qxl;
    return 0;
}

static void set_compression_level(QXLInstance *qxl, int level) { (void)qxl, (void)level; }
static void notify_update(QXLInstance *qxl, uint32_t id) { (void)qxl, (void)id; }
static void async_complete(QXLInstance *qxl, uint64_t cookie) { (void)qxl, (void)cookie; }

static const QXLInterface qxl_interface = {
    .base = { .type = SPICE_INTERFACE_QXL, .description = "test pattern", .major_version = SPICE_INTERFACE_QXL_MAJOR,
              .minor_version = SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached_worker, .set_compression_level = set_compression_level, .get_init_info = get_init_info,
    .get_command = get_command, .req_cmd_notification = req_cmd_notification, .release_resource = release_resource,
    .get_cursor_command = get_cursor_command, .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update, .flush_resources = flush_resources, .async_complete = async_complete,
};

static QXLInstance qxl = { .base.sif = &qxl_interface.base };

static struct Draw *new_draw(uint8_t type, int x, int y)
{
    struct Draw *draw = calloc(1, sizeof *draw);
    if (!draw) {
        abort();
    }
    draw->ext.cmd.type = QXL_CMD_DRAW;
    draw->ext.cmd.data = (uintptr_t)&draw->drawable;
    draw->drawable.release_info.id = (uintptr_t)draw;
    draw->drawable.type = type;
    draw->drawable.effect = QXL_EFFECT_OPAQUE;
    draw->drawable.clip.type = SPICE_CLIP_TYPE_NONE;
    draw->drawable.bbox = (QXLRect){ .left = x, .top = y, .right = x + SIDE, .bottom = y + SIDE };
    for (int i = 0; i < 3; i++) {
        draw->drawable.surfaces_dest[i] = -1;
    }
    return draw;
}

static struct Draw *new_fill(int x, int y, uint32_t colour)
{
    struct Draw *draw = new_draw(QXL_DRAW_FILL, x, y);
    draw->drawable.u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    draw->drawable.u.fill.brush.u.color = colour;
    draw->drawable.u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    return draw;
}

static struct Draw *new_copy(int x, int y, unsigned frame)
{
    struct Draw *draw = new_draw(QXL_DRAW_COPY, x, y);
    for (int i = 0; i < SIDE * SIDE; i++) {
        draw->pixels[i] = (i % SIDE * 4) << 16 | (i / SIDE * 4) << 8 | (frame * 4 & 0xff);
    }
    draw->image.descriptor =
        (QXLImageDescriptor){ .id = frame, .type = SPICE_IMAGE_TYPE_BITMAP, .width = SIDE, .height = SIDE };
    draw->image.bitmap.format = SPICE_BITMAP_FMT_32BIT;
    draw->image.bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    draw->image.bitmap.x = SIDE;
    draw->image.bitmap.y = SIDE;
    draw->image.bitmap.stride = SIDE * 4;
    draw->image.bitmap.data = (uintptr_t)draw->pixels;
    draw->drawable.u.copy.src_bitmap = (uintptr_t)&draw->image;
    draw->drawable.u.copy.src_area = (QXLRect){ .right = SIDE, .bottom = SIDE };
    draw->drawable.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    return draw;
}

static void submit(struct Draw *draw)
{
    pthread_mutex_lock(&lock);
    bool room = head - tail < QUEUE;
    if (room) {
        queue[head++ % QUEUE] = draw;
    }
    bool wake = asleep;
    asleep = false;
    pthread_mutex_unlock(&lock);
    if (!room) {
        free(draw); /* clients are slow: leave the frame out */
    }
    if (wake) {
        spice_qxl_wakeup(&qxl);
    }
}

static unsigned frame, last_frame;
static SpiceTimer *frame_timer;

static void next_frame(void *opaque)
{
    static int x, y, dx = 5, dy = 3;

    (void)opaque;
    submit(new_fill(x, y, 0x203040));
    if (x + dx < 0 || x + dx > WIDTH - SIDE) {
        dx = -dx;
    }
    if (y + dy < 0 || y + dy > HEIGHT - SIDE) {
        dy = -dy;
    }
    x += dx;
    y += dy;
    submit(new_copy(x, y, frame));
    if (++frame == last_frame) {
        quit = 1;
    }
    timer_start(frame_timer, 20);
}

/* --- Keyboard and mouse: printed. */

static void push_scan_freg(SpiceKbdInstance *sin, uint8_t frag)
{
    (void)sin;
    printf("key %#04x\n", frag);
}

static uint8_t get_leds(SpiceKbdInstance *sin)
{
    (void)sin;
    return 0;
}

static void motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons)
{
    (void)sin;
    printf("mouse %+d %+d wheel %+d buttons %#x\n", dx, dy, dz, buttons);
}

static void buttons(SpiceMouseInstance *sin, uint32_t state)
{
    (void)sin;
    printf("mouse buttons %#x\n", state);
}

static const SpiceKbdInterface keyboard_interface = {
    .base = { SPICE_INTERFACE_KEYBOARD, "printer", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR },
    .push_scan_freg = push_scan_freg, .get_leds = get_leds,
};
static const SpiceMouseInterface mouse_interface = {
    .base = { SPICE_INTERFACE_MOUSE, "printer", SPICE_INTERFACE_MOUSE_MAJOR, SPICE_INTERFACE_MOUSE_MINOR },
    .motion = motion, .buttons = buttons,
};
static SpiceKbdInstance keyboard = { .base.sif = &keyboard_interface.base };
static SpiceMouseInstance mouse = { .base.sif = &mouse_interface.base };

static void on_signal(int number)
{
    (void)number;
    quit = 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "port", required_argument, NULL, 'p' },
                                             { "password", required_argument, NULL, 'w' },
                                             { "frames", required_argument, NULL, 'f' },
                                             { 0 } };
    int port = 5930, option;
    const char *password = NULL;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'w': password = optarg; break;
        case 'f': last_frame = strtoul(optarg, NULL, 0); break;
        default: fprintf(stderr, "usage: %s [--port N] [--password P] [--frames N]\n", argv[0]); return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    SpiceServer *server = spice_server_new();
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, port);
    spice_server_set_name(server, "minimal-host");
    if (password) {
        spice_server_set_ticket(server, password, 0, 0, 0);
    } else {
        spice_server_set_noauth(server);
    }
    if (spice_server_init(server, &core) != 0) {
        fprintf(stderr, "cannot start the server on port %d\n", port);
        return 1;
    }
    if (spice_server_add_interface(server, &keyboard.base) || spice_server_add_interface(server, &mouse.base) ||
        spice_server_add_interface(server, &qxl.base)) {
        fprintf(stderr, "an interface was refused\n");
        return 1;
    }
    QXLDevSurfaceCreate surface = { .width = WIDTH, .height = HEIGHT, .stride = -WIDTH * 4,
                                    .format = SPICE_SURFACE_FMT_32_xRGB, .mem = (uintptr_t)screen };
    spice_qxl_create_primary_surface(&qxl, 0, &surface);
    spice_server_vm_start(server);
    printf("serving on 127.0.0.1:%d\n", port);

    frame_timer = timer_add(next_frame, NULL);
    timer_start(frame_timer, 0);
    while (!quit) {
        run_once();
    }
    timer_remove(frame_timer);
    spice_server_vm_stop(server);
    spice_server_remove_interface(&qxl.base);
    spice_server_destroy(server);
    while (head != tail) {
        free(queue[tail++ % QUEUE]);
    }
    free_removed();
    printf("%u frames\n", frame);
    return 0;
}
