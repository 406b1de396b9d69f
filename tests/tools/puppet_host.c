/*
 * puppet_host: a host whose guest is a script on stdin. It has a QXL device with memory between guard pages, a keyboard,
 * a mouse, a tablet, a port, an agent, playback, record and, once it is told so, a streaming device; it checks nothing of
 * what the guest does.
 *
 *   cc -o puppet_host puppet_host.c $(pkg-config --cflags spice-server) -l:libspice-server.so.1 -lpthread
 *   ./puppet_host PORT [ID] [DISPLAYS]      ID: of the QXL device; a second one has no guest
 *
 * One line in, one line out; numbers are decimal or 0x...; see `execute`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <spice.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* --- Main loop. */

struct SpiceWatch {
    int fd, mask;
    SpiceWatchFunc func;
    void *opaque;
    bool removed;
    SpiceWatch *next;
};
struct SpiceTimer {
    bool armed, removed;
    int64_t due;
    SpiceTimerFunc func;
    void *opaque;
    SpiceTimer *next;
};
static SpiceWatch *watches;
static SpiceTimer *timers;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *watch = malloc(sizeof *watch);
    *watch = (SpiceWatch){ fd, mask, func, opaque, false, watches };
    return watches = watch;
}
static void watch_update(SpiceWatch *watch, int mask) { watch->mask = mask; }
static void watch_remove(SpiceWatch *watch) { watch->removed = true; }
static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *timer = malloc(sizeof *timer);
    *timer = (SpiceTimer){ false, false, 0, func, opaque, timers };
    return timers = timer;
}
static void timer_start(SpiceTimer *timer, uint32_t ms)
{
    timer->due = now_ms() + ms;
    timer->armed = true;
}
static void timer_cancel(SpiceTimer *timer) { timer->armed = false; }
static void timer_remove(SpiceTimer *timer) { timer->removed = true; }
static void channel_event(int event, SpiceChannelEventInfo *info) { (void)event, (void)info; }

/* Runs what is due; `input` is set when stdin can be read. */
static void run_once(int wait, bool *input)
{
    struct pollfd fds[256] = { { .fd = input ? 0 : -1, .events = POLLIN } };
    SpiceWatch *polled[256];
    nfds_t count = 1;
    int64_t now = now_ms();
    for (SpiceWatch *watch = watches; watch && count < 256; watch = watch->next) {
        if (watch->mask && !watch->removed) {
            short events = (watch->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) |
                           (watch->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0);
            fds[count] = (struct pollfd){ watch->fd, events, 0 };
            polled[count++] = watch;
        }
    }
    for (SpiceTimer *timer = timers; timer; timer = timer->next) {
        if (timer->armed && !timer->removed && timer->due - now < wait) {
            wait = timer->due > now ? timer->due - now : 0;
        }
    }
    if (poll(fds, count, wait) < 0) {
        return;
    }
    for (nfds_t i = 1; i < count; i++) {
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
    for (SpiceWatch **place = &watches; *place;) {
        SpiceWatch *watch = *place;
        if (watch->removed) {
            *place = watch->next;
            free(watch);
        } else {
            place = &watch->next;
        }
    }
    if (input) {
        *input = fds[0].revents != 0;
    }
}

static SpiceCoreInterface core = {
    .base = { SPICE_INTERFACE_CORE, "puppet", SPICE_INTERFACE_CORE_MAJOR, SPICE_INTERFACE_CORE_MINOR },
    .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
    .watch_add = watch_add, .watch_update_mask = watch_update, .watch_remove = watch_remove,
    .channel_event = channel_event,
};

/* --- The QXL device. */

enum { ARENA = 16 << 20, GUARD = 1 << 20, RING = 4096, RELEASES = 65536 };
static uint8_t *arena;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
struct ring {
    QXLCommandExt commands[RING];
    unsigned head, tail;
    bool idle; /* it was found empty and will be told */
};
static struct ring display, cursor;
static int64_t released[RELEASES];
static unsigned n_released, completed;

static void get_init_info(QXLInstance *qxl, QXLDevInitInfo *info)
{
    (void)qxl;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 2, .num_memslots = 8, .memslot_gen_bits = 8, .memslot_id_bits = 8,
                              .internal_groupslot_id = 1, .qxl_ram_size = ARENA, .n_surfaces = 64 };
}
static int take(struct ring *ring, QXLCommandExt *ext)
{
    pthread_mutex_lock(&lock);
    bool some = ring->head != ring->tail;
    if (some) {
        *ext = ring->commands[ring->tail++ % RING];
        ring->idle = false;
    }
    pthread_mutex_unlock(&lock);
    return some;
}
static int ask(struct ring *ring)
{
    pthread_mutex_lock(&lock);
    bool idle = ring->idle = ring->head == ring->tail;
    pthread_mutex_unlock(&lock);
    return idle;
}
static void put(struct ring *ring, const QXLCommandExt *ext)
{
    pthread_mutex_lock(&lock);
    ring->commands[ring->head++ % RING] = *ext;
    ring->idle = false;
    pthread_mutex_unlock(&lock);
}
static QXLInstance qxl, second;
static int get_command(QXLInstance *q, QXLCommandExt *ext) { return q == &qxl && take(&display, ext); }
static int req_command(QXLInstance *q) { return q != &qxl || ask(&display); }
static int get_cursor(QXLInstance *q, QXLCommandExt *ext) { return q == &qxl && take(&cursor, ext); }
static int req_cursor(QXLInstance *q) { return q != &qxl || ask(&cursor); }
static void release(QXLInstance *qxl, QXLReleaseInfoExt ext)
{
    (void)qxl;
    pthread_mutex_lock(&lock);
    if (n_released < RELEASES) {
        released[n_released++] = (uint8_t *)ext.info - arena;
    }
    pthread_mutex_unlock(&lock);
}
static void attached(QXLInstance *qxl) { (void)qxl; }
static void compression(QXLInstance *qxl, int level) { (void)qxl, (void)level; }
static void notify(QXLInstance *qxl, uint32_t id) { (void)qxl, (void)id; }
static int flush(QXLInstance *qxl) { return (void)qxl, 0; }
static void complete(QXLInstance *qxl, uint64_t cookie)
{
    (void)qxl, (void)cookie;
    pthread_mutex_lock(&lock);
    completed++;
    pthread_mutex_unlock(&lock);
}
static void updated(QXLInstance *qxl, uint32_t id, QXLRect *rects, uint32_t n) { (void)qxl, (void)id, (void)rects, (void)n; }
/* What the guests were told of the clients, in order: "DISPLAY:PRESENT:CAPABILITIES ". */
static char told[4096];
static void capabilities(QXLInstance *q, uint8_t present, uint8_t *caps)
{
    pthread_mutex_lock(&lock);
    size_t at = strlen(told);
    snprintf(told + at, sizeof told - at, "%d:%u:%02x ", q == &second, present, caps[0]);
    pthread_mutex_unlock(&lock);
}
static int monitors(QXLInstance *qxl, VDAgentMonitorsConfig *config) { return (void)qxl, (void)config, 1; }

static const QXLInterface qxl_interface = {
    .base = { SPICE_INTERFACE_QXL, "puppet", SPICE_INTERFACE_QXL_MAJOR, SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached, .set_compression_level = compression, .get_init_info = get_init_info,
    .get_command = get_command, .req_cmd_notification = req_command, .release_resource = release,
    .get_cursor_command = get_cursor, .req_cursor_notification = req_cursor, .notify_update = notify,
    .flush_resources = flush, .async_complete = complete, .update_area_complete = updated,
    .set_client_capabilities = capabilities, .client_monitors_config = monitors,
};
static QXLInstance qxl = { .base.sif = &qxl_interface.base }, second = { .base.sif = &qxl_interface.base, .id = 1 };

/* --- The other devices: everything is swallowed. */

static void key(SpiceKbdInstance *sin, uint8_t frag) { (void)sin, (void)frag; }
static uint8_t leds(SpiceKbdInstance *sin) { return (void)sin, 0; }
static void motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t b) { (void)sin, (void)dx, (void)dy, (void)dz, (void)b; }
static void buttons(SpiceMouseInstance *sin, uint32_t b) { (void)sin, (void)b; }
static void logical(SpiceTabletInstance *sin, int w, int h) { (void)sin, (void)w, (void)h; }
static void position(SpiceTabletInstance *sin, int x, int y, uint32_t b) { (void)sin, (void)x, (void)y, (void)b; }
static void wheel(SpiceTabletInstance *sin, int dz, uint32_t b) { (void)sin, (void)dz, (void)b; }
static void tablet_buttons(SpiceTabletInstance *sin, uint32_t b) { (void)sin, (void)b; }
static void state(SpiceCharDeviceInstance *sin, int connected) { (void)sin, (void)connected; }
static int chr_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len) { return (void)sin, (void)buf, len; }
static int chr_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len) { return (void)sin, (void)buf, (void)len, 0; }

static const SpiceKbdInterface keyboard_interface = {
    .base = { SPICE_INTERFACE_KEYBOARD, "puppet", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR },
    .push_scan_freg = key, .get_leds = leds };
static const SpiceMouseInterface mouse_interface = {
    .base = { SPICE_INTERFACE_MOUSE, "puppet", SPICE_INTERFACE_MOUSE_MAJOR, SPICE_INTERFACE_MOUSE_MINOR },
    .motion = motion, .buttons = buttons };
static const SpiceTabletInterface tablet_interface = {
    .base = { SPICE_INTERFACE_TABLET, "puppet", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR },
    .set_logical_size = logical, .position = position, .wheel = wheel, .buttons = tablet_buttons };
static const SpiceCharDeviceInterface chr_interface = {
    .base = { SPICE_INTERFACE_CHAR_DEVICE, "puppet", SPICE_INTERFACE_CHAR_DEVICE_MAJOR, SPICE_INTERFACE_CHAR_DEVICE_MINOR },
    .state = state, .write = chr_write, .read = chr_read };
static const SpicePlaybackInterface playback_interface = {
    .base = { SPICE_INTERFACE_PLAYBACK, "puppet", SPICE_INTERFACE_PLAYBACK_MAJOR, SPICE_INTERFACE_PLAYBACK_MINOR } };
static const SpiceRecordInterface record_interface = {
    .base = { SPICE_INTERFACE_RECORD, "puppet", SPICE_INTERFACE_RECORD_MAJOR, SPICE_INTERFACE_RECORD_MINOR } };
static SpiceKbdInstance keyboard = { .base.sif = &keyboard_interface.base };
static SpiceMouseInstance mouse = { .base.sif = &mouse_interface.base };
static SpiceTabletInstance tablet = { .base.sif = &tablet_interface.base };
static SpiceCharDeviceInstance agent = { .base.sif = &chr_interface.base, .subtype = "vdagent" };
static SpiceCharDeviceInstance port = { .base.sif = &chr_interface.base, .subtype = "port", .portname = "puppet.0" };
static SpiceCharDeviceInstance usb = { .base.sif = &chr_interface.base, .subtype = "usbredir" };
static SpiceCharDeviceInstance card = { .base.sif = &chr_interface.base, .subtype = "smartcard" };
static SpicePlaybackInstance playback = { .base.sif = &playback_interface.base };
static SpiceRecordInstance record = { .base.sif = &record_interface.base };

/* --- The streaming device, whose guest says what it is told to, and keeps what it hears. */

static struct {
    uint8_t *said;              /* what the guest says and the server has not read */
    size_t count, at;
    char heard[1 << 16];        /* calls of the server since the last look, as words */
    size_t words;
    int64_t room;               /* bytes that the guest still takes */
} talk = { .room = 1 << 30 };

static void note(const char *what, const uint8_t *bytes, int count)
{
    size_t left = sizeof talk.heard - talk.words;
    if (left < strlen(what) + 2 * (size_t)count + 2) {
        return;
    }
    talk.words += sprintf(talk.heard + talk.words, " %s", what);
    for (int i = 0; i < count; i++) {
        talk.words += sprintf(talk.heard + talk.words, "%02x", bytes[i]);
    }
}
static void stream_state(SpiceCharDeviceInstance *sin, int connected)
{
    (void)sin;
    note(connected ? "state1" : "state0", NULL, 0);
}
static int stream_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    (void)sin;
    int taken = len < talk.room ? len : (int)talk.room;
    talk.room -= taken;
    if (taken > 0) {
        note("w", buf, taken);
    }
    return taken;
}
static int stream_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    (void)sin;
    size_t some = talk.count - talk.at < (size_t)len ? talk.count - talk.at : (size_t)len;
    if (some) {
        memcpy(buf, talk.said + talk.at, some);
    }
    talk.at += some;
    return some;
}
static const SpiceCharDeviceInterface stream_interface = {
    .base = { SPICE_INTERFACE_CHAR_DEVICE, "puppet", SPICE_INTERFACE_CHAR_DEVICE_MAJOR, SPICE_INTERFACE_CHAR_DEVICE_MINOR },
    .state = stream_state, .write = stream_write, .read = stream_read,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE };
static SpiceCharDeviceInstance stream = { .base.sif = &stream_interface.base, .subtype = "port" };

/* Puts bytes behind what the guest has still to say. */
static uint8_t *say(size_t count)
{
    memmove(talk.said, talk.said + talk.at, talk.count - talk.at);
    talk.count -= talk.at;
    talk.at = 0;
    talk.said = realloc(talk.said, talk.count + count);
    talk.count += count;
    return talk.said + talk.count - count;
}

/* --- The script. */

static SpiceServer *server;
static int64_t v[10];

/* Waits until the worker has taken everything, at most 20 s. */
static bool settle(void)
{
    int64_t end = now_ms() + 20000;
    spice_qxl_wakeup(&qxl);
    for (;;) {
        pthread_mutex_lock(&lock);
        bool idle = display.idle && cursor.idle;
        pthread_mutex_unlock(&lock);
        if (idle) {
            return true;
        }
        if (now_ms() > end) {
            return false;
        }
        run_once(1, NULL);
    }
}

static void write_memory(const char *hex)
{
    uint64_t at = v[0];
    for (; hex[0] && hex[1] && hex[0] != '\n' && at < ARENA; hex += 2, at++) {
        sscanf(hex, "%2hhx", &arena[at]);
    }
}

/* Plays a frame of one sample; whether a buffer was there for it. */
static bool play(uint32_t sample)
{
    uint32_t *samples, count;
    spice_server_playback_get_buffer(&playback, &samples, &count);
    for (uint32_t i = 0; i < count; i++) {
        samples[i] = sample;
    }
    if (samples) {
        spice_server_playback_put_samples(&playback, samples);
    }
    return samples;
}

/* Buffers that the guest keeps. */
static uint32_t *kept[8];

/* What a guest with sound does, by number. */
static void sound(void)
{
    uint16_t volumes[] = { v[1], v[2] };
    static uint32_t samples[1 << 16], nothing[480], count;
    switch (v[0]) {
    case 0: spice_server_playback_stop(&playback); break;
    case 1: spice_server_playback_start(&playback); break;
    case 2: spice_server_record_stop(&record); break;
    case 3: spice_server_record_start(&record); break;
    case 4: puts(play(v[1]) ? "played" : "unwanted"); return;              /* SAMPLE */
    case 5:                                                                 /* MAX */
        count = spice_server_record_get_samples(&record, samples, v[1] < 1 << 16 ? v[1] : 1 << 16);
        for (uint32_t i = 0; i < count; i++) {
            printf("%" PRIu32 " ", samples[i]);
        }
        puts("");
        return;
    case 6: spice_server_playback_set_volume(&playback, 2, volumes); break; /* LEFT RIGHT */
    case 7: spice_server_playback_set_mute(&playback, v[1]); break;
    case 8: spice_server_record_set_volume(&record, 2, volumes); break;
    case 9: spice_server_record_set_mute(&record, v[1]); break;
    case 10: spice_server_set_playback_compression(server, v[1]); break;
    case 11: spice_server_set_playback_rate(&playback, v[1]); break;
    case 12: spice_server_set_record_rate(&record, v[1]); break;
    case 13:                                                                /* WHICH: keeps a buffer */
        spice_server_playback_get_buffer(&playback, &kept[v[1] & 7], &count);
        puts(kept[v[1] & 7] ? "kept" : "unwanted");
        return;
    case 14:                                                                /* WHICH SAMPLE: puts one that was kept */
        for (int i = 0; i < 480; i++) {
            kept[v[1] & 7][i] = v[2];
        }
        spice_server_playback_put_samples(&playback, kept[v[1] & 7]);
        break;
    case 15: spice_server_playback_put_samples(&playback, v[1] ? nothing : NULL); break;
    case 16: printf("%d\n", spice_server_remove_interface(&playback.base)); return;
    case 17: printf("%d\n", spice_server_remove_interface(&record.base)); return;
    case 18: printf("%d\n", spice_server_add_interface(server, &playback.base)); return;
    case 19: printf("%d\n", spice_server_add_interface(server, &record.base)); return;
    case 20: {                                                              /* a second one of each */
        static SpicePlaybackInstance playback2;
        static SpiceRecordInstance record2;
        playback2.base.sif = &playback_interface.base;
        record2.base.sif = &record_interface.base;
        printf("%d ", spice_server_add_interface(server, &playback2.base));
        printf("%d\n", spice_server_add_interface(server, &record2.base));
        return;
    }
    case 21: printf("%u %u\n", spice_server_get_best_playback_rate(NULL), spice_server_get_best_record_rate(NULL)); return;
    default: puts("unknown"); return;
    }
    puts("ok");
}

/* What a guest with a streaming device does, by number. */
static void stream_device(const char *rest)
{
    static char name[] = "org.spice-space.stream.0";
    rest += strspn(rest, " ");
    switch (v[0]) {
    case 0:                                                                 /* DIGIT: attaches the device of that name */
        name[sizeof name - 2] = *rest ? *rest : '0';
        stream.portname = name;
        printf("%d\n", spice_server_add_interface(server, &stream.base));
        return;
    case 1: {                                                               /* HEX: the guest says these bytes */
        uint8_t *to = say(strlen(rest) / 2);
        for (; rest[0] && rest[1]; rest += 2) {
            sscanf(rest, "%2hhx", to++);
        }
        spice_server_char_device_wakeup(&stream);
        break;
    }
    case 2: spice_server_port_event(&stream, atoi(rest)); break;            /* EVENT */
    case 3:                                                                 /* what it heard, and how much it has to say */
        printf("%zu%.*s\n", talk.count - talk.at, (int)talk.words, talk.heard);
        talk.words = 0;
        return;
    case 4: printf("%d\n", spice_server_remove_interface(&stream.base)); return;
    case 5:                                                                 /* BYTES that it takes from now on */
        talk.room = atoll(rest);
        spice_server_char_device_wakeup(&stream);
        break;
    case 6: {                                                               /* FILE: the guest says what is in it */
        FILE *file = fopen(rest, "rb");
        static uint8_t part[1 << 16];
        for (size_t n; file && (n = fread(part, 1, sizeof part, file)) > 0;) {
            memcpy(say(n), part, n);
        }
        if (file) {
            fclose(file);
        }
        spice_server_char_device_wakeup(&stream);
        break;
    }
    default: puts("unknown"); return;
    }
    puts("ok");
}

static void execute(char *line)
{
    char *rest = line + 1;
    memset(v, 0, sizeof v);
    int want = line[0] == 'w' || line[0] == 'j' ? 1 : 10;
    for (int i = 0; i < want; i++) {
        char *end;
        errno = 0;
        v[i] = *(rest + strspn(rest, " ")) == '-' ? strtoll(rest, &end, 0) : (int64_t)strtoull(rest, &end, 0);
        if (end == rest) {
            break;
        }
        rest = end;
    }
    QXLCommandExt ext = { .cmd = { .type = v[0], .data = v[1] }, .group_id = v[2], .flags = v[3] };
    QXLRect rect = { .left = v[1], .top = v[2], .right = v[3], .bottom = v[4] };
    switch (line[0]) {
    case 'w': write_memory(rest + strspn(rest, " ")); break;                /* OFFSET HEX */
    case 'q': put(&display, &ext); break;                                   /* TYPE ADDRESS GROUP FLAGS */
    case 'k': put(&cursor, &ext); break;
    case 'l': spice_qxl_loadvm_commands(&qxl, &ext, 1); break;
    case 's':
        if (!settle()) {
            puts("hang");
            return;
        }
        break;
    case 'p': {                                    /* WIDTH HEIGHT STRIDE FORMAT ADDRESS FLAGS GROUP ID */
        QXLDevSurfaceCreate create = { .width = v[0], .height = v[1], .stride = v[2], .format = v[3], .mem = v[4],
                                       .flags = v[5], .group_id = v[6], .type = QXL_SURF_TYPE_PRIMARY };
        spice_qxl_create_primary_surface(&qxl, v[7], &create);
        break;
    }
    case 'P': spice_qxl_destroy_primary_surface(&qxl, v[0]); break;
    case 'u': {                                    /* SURFACE LEFT TOP RIGHT BOTTOM MAX CLEAR */
        uint32_t max = v[5] > 64 ? 64 : v[5];
        QXLRect dirty[64];
        spice_qxl_update_area(&qxl, v[0], &rect, max ? dirty : NULL, max, v[6]);
        break;
    }
    case 'a': spice_qxl_update_area_async(&qxl, v[0], &rect, v[6], 77); break;
    case 'x': spice_qxl_destroy_surfaces(&qxl); break;
    case 'd': spice_qxl_destroy_surface_wait(&qxl, v[0]); break;
    case 'D': spice_qxl_destroy_surface_async(&qxl, v[0], 78); break;
    case 'm': {                                    /* GROUP SLOT GENERATION START END DELTA, relative to the memory */
        uintptr_t base = (uintptr_t)arena;
        QXLDevMemSlot slot = { .slot_group_id = v[0], .slot_id = v[1], .generation = v[2], .virt_start = base + v[3],
                               .virt_end = base + v[4], .addr_delta = base + v[5], .qxl_ram_size = ARENA };
        spice_qxl_add_memslot(&qxl, &slot);
        break;
    }
    case 'M': spice_qxl_del_memslot(&qxl, v[0], v[1]); break;
    case 'R': spice_qxl_reset_memslots(&qxl); break;
    case 'c': spice_qxl_reset_cursor(&qxl); break;
    case 'i': spice_qxl_reset_image_cache(&qxl); break;
    case 'o': spice_qxl_oom(&qxl); break;
    case 'g': spice_qxl_monitors_config_async(&qxl, v[0], v[1], 79); break;
    case 'f': spice_qxl_flush_surfaces_async(&qxl, 80); break;
    case 't': spice_server_vm_stop(server); break;
    case 'T': spice_server_vm_start(server); break;
    case 'n': sound(); return;                     /* see there */
    case 'j': stream_device(rest); return;         /* see there */
    case 'r':                                      /* offsets of the commands that came back, and completed requests */
        pthread_mutex_lock(&lock);
        printf("%u", completed);
        for (unsigned i = 0; i < n_released; i++) {
            printf(" %" PRId64, released[i]);
        }
        n_released = completed = 0;
        pthread_mutex_unlock(&lock);
        puts("");
        return;
    case 'C':                                      /* what the guests were told of the clients since the last time */
        pthread_mutex_lock(&lock);
        puts(told);
        told[0] = 0;
        pthread_mutex_unlock(&lock);
        return;
    default: puts("unknown"); return;
    }
    puts("ok");
}

int main(int argc, char **argv)
{
    uint8_t *room = mmap(NULL, ARENA + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    arena = room + GUARD;
    if (argc < 2 || room == MAP_FAILED || mprotect(arena, ARENA, PROT_READ | PROT_WRITE)) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    qxl.id = argc > 2 ? atoi(argv[2]) : 0;
    server = spice_server_new();
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, atoi(argv[1]));
    spice_server_set_noauth(server);
    if (spice_server_init(server, &core)) {
        return 2;
    }
    SpiceBaseInstance *devices[] = { &keyboard.base, &mouse.base, &tablet.base, &agent.base, &port.base, &usb.base,
                                     &card.base, &playback.base, &record.base, &qxl.base };
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) {
        if (spice_server_add_interface(server, devices[i])) {
            fprintf(stderr, "interface %s is refused\n", devices[i]->sif->type);
        }
    }
    if (argc > 3 && atoi(argv[3]) > 1 && spice_server_add_interface(server, &second.base)) {
        fprintf(stderr, "the second display is refused\n");
    }
    spice_server_vm_start(server);
    puts("ready");

    static char line[1 << 20];
    size_t filled = 0;
    for (;;) {
        bool input;
        run_once(1000, &input);
        if (!input) {
            continue;
        }
        ssize_t n = read(0, line + filled, sizeof line - 1 - filled);
        if (n <= 0) {
            break;
        }
        filled += n;
        line[filled] = 0;
        char *start = line, *end;
        while ((end = memchr(start, '\n', line + filled - start))) {
            *end = 0;
            execute(start);
            start = end + 1;
        }
        filled -= start - line;
        memmove(line, start, filled);
    }
    spice_server_destroy(server);
    puts("destroyed");
    return 0;
}
