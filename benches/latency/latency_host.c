/*
 * latency_host: a guest that answers each key with one small drawing while it draws a chosen background load. With it,
 * key_latency.py measures the time that the library adds between a key press and the pixels that it causes.
 *
 *   cc -O2 -o latency_host latency_host.c $(pkg-config --cflags --libs spice-server) -lpthread
 *   ./latency_host PORT LOAD      LOAD: idle, video (640x360, 25 frames/s), photo (the top 1920x900, 10 frames/s)
 *                                 or text (a 640x400 terminal that scrolls a line every 20 ms)
 *
 * The answer to a key is a DRAW_COPY of 16x16 pixels in rows 1040 to 1055, where nothing else is drawn;
 * its x is 16 * (number of key bytes so far % 100). Only the public C API is used.
 *
 * A line on stdin makes it print "drawn N longest US refused N": commands of the load so far; how long a command has waited
 * in the ring at most, and how many found the ring full, both since the last line.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <spice.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { W = 1920, H = 1080, QUEUE = 256 };

struct SpiceWatch { int fd, mask; SpiceWatchFunc func; void *opaque; bool dead; SpiceWatch *next; };
struct SpiceTimer { SpiceTimerFunc func; void *opaque; double due; bool dead; SpiceTimer *next; };
static SpiceWatch *watches;
static SpiceTimer *timers;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static SpiceTimer *timer_add(SpiceTimerFunc func, void *opaque)
{
    SpiceTimer *t = calloc(1, sizeof *t);
    *t = (SpiceTimer){ func, opaque, 0, false, timers };
    return timers = t;
}
static void timer_start(SpiceTimer *t, uint32_t ms) { t->due = now_s() + ms / 1e3; }
static void timer_cancel(SpiceTimer *t) { t->due = 0; }
static void timer_remove(SpiceTimer *t) { t->due = 0; t->dead = true; }
static SpiceWatch *watch_add(int fd, int mask, SpiceWatchFunc func, void *opaque)
{
    SpiceWatch *w = calloc(1, sizeof *w);
    *w = (SpiceWatch){ fd, mask, func, opaque, false, watches };
    return watches = w;
}
static void watch_update_mask(SpiceWatch *w, int mask) { w->mask = mask; }
static void watch_remove(SpiceWatch *w) { w->dead = true; }
static void channel_event(int event, SpiceChannelEventInfo *info) { (void)event; (void)info; }

static SpiceCoreInterface core = {
    .base = { SPICE_INTERFACE_CORE, "latency_host", SPICE_INTERFACE_CORE_MAJOR, SPICE_INTERFACE_CORE_MINOR },
    .timer_add = timer_add, .timer_start = timer_start, .timer_cancel = timer_cancel, .timer_remove = timer_remove,
    .watch_add = watch_add, .watch_update_mask = watch_update_mask, .watch_remove = watch_remove,
    .channel_event = channel_event,
};

static void iterate(void)
{
    struct pollfd pfd[256];
    SpiceWatch *who[256];
    int n = 0, ms = 1000;
    double t0 = now_s();
    for (SpiceWatch *w = watches; w && n < 256; w = w->next) {
        if (w->dead || !w->mask) continue;
        pfd[n] = (struct pollfd){ w->fd, (w->mask & SPICE_WATCH_EVENT_READ ? POLLIN : 0) | (w->mask & SPICE_WATCH_EVENT_WRITE ? POLLOUT : 0), 0 };
        who[n++] = w;
    }
    for (SpiceTimer *t = timers; t; t = t->next)
        if (!t->dead && t->due) {
            int left = t->due > t0 ? (int)((t->due - t0) * 1e3) + 1 : 0;
            if (left < ms) ms = left;
        }
    poll(pfd, n, ms);
    for (int i = 0; i < n; i++) {
        int ev = (pfd[i].revents & (POLLIN | POLLHUP | POLLERR) ? SPICE_WATCH_EVENT_READ : 0) | (pfd[i].revents & POLLOUT ? SPICE_WATCH_EVENT_WRITE : 0);
        if ((ev &= who[i]->mask) && !who[i]->dead) who[i]->func(who[i]->fd, ev, who[i]->opaque);
    }
    t0 = now_s();
    for (SpiceTimer *t = timers; t; t = t->next)
        if (!t->dead && t->due && t->due <= t0) { t->due = 0; t->func(t->opaque); }
    for (SpiceWatch **p = &watches; *p;) { SpiceWatch *w = *p; if (w->dead) { *p = w->next; free(w); } else p = &w->next; }
    for (SpiceTimer **p = &timers; *p;) { SpiceTimer *t = *p; if (t->dead) { *p = t->next; free(t); } else p = &t->next; }
}

/* ---- the device ---- */

struct draw { double since; QXLCommandExt ext; QXLDrawable d; QXLImage image; uint32_t pixels[]; };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct draw *queue[QUEUE];
static unsigned head, tail;
static bool armed;
static uint32_t screen[W * H];
static QXLInstance qxl;
static long drawn, full;
static double longest;

static int get_command(QXLInstance *q, QXLCommandExt *c)
{
    (void)q;
    pthread_mutex_lock(&lock);
    bool some = head != tail;
    if (some) {
        struct draw *d = queue[tail++ % QUEUE];
        double waited = now_s() - d->since;
        if (waited > longest) longest = waited;
        *c = d->ext;
    }
    pthread_mutex_unlock(&lock);
    return some;
}
static int req_cmd_notification(QXLInstance *q)
{
    (void)q;
    pthread_mutex_lock(&lock);
    bool a = armed = head == tail;
    pthread_mutex_unlock(&lock);
    return a;
}
static int get_cursor_command(QXLInstance *q, QXLCommandExt *c) { (void)q; (void)c; return 0; }
static int req_cursor_notification(QXLInstance *q) { (void)q; return 1; }
static void release_resource(QXLInstance *q, QXLReleaseInfoExt r) { (void)q; free((void *)(uintptr_t)r.info->id); }
static void attached_worker(QXLInstance *q)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    spice_qxl_add_memslot(q, &slot);
}
static void set_compression_level(QXLInstance *q, int level) { (void)q; (void)level; }
static void get_init_info(QXLInstance *q, QXLDevInitInfo *info)
{
    (void)q;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 1, .num_memslots = 1, .memslot_id_bits = 1, .memslot_gen_bits = 1, .n_surfaces = 1 };
}
static void notify_update(QXLInstance *q, uint32_t id) { (void)q; (void)id; }
static int flush_resources(QXLInstance *q) { (void)q; return 0; }
static void async_complete(QXLInstance *q, uint64_t cookie) { (void)q; (void)cookie; }
static QXLInterface qxl_sif = {
    .base = { SPICE_INTERFACE_QXL, "latency_host", SPICE_INTERFACE_QXL_MAJOR, SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached_worker, .set_compression_level = set_compression_level, .get_init_info = get_init_info,
    .get_command = get_command, .req_cmd_notification = req_cmd_notification, .release_resource = release_resource,
    .get_cursor_command = get_cursor_command, .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update, .flush_resources = flush_resources, .async_complete = async_complete,
};

static struct draw *copy(int x, int y, int w, int h)
{
    static uint32_t id;
    struct draw *d = calloc(1, sizeof *d + 4L * w * h);
    d->ext.cmd.type = QXL_CMD_DRAW;
    d->ext.cmd.data = (uintptr_t)&d->d;
    d->d.release_info.id = (uintptr_t)d;
    d->d.type = QXL_DRAW_COPY;
    d->d.effect = QXL_EFFECT_OPAQUE;
    d->d.bbox = (QXLRect){ .left = x, .top = y, .right = x + w, .bottom = y + h };
    for (int i = 0; i < 3; i++) d->d.surfaces_dest[i] = -1;
    d->image.descriptor = (QXLImageDescriptor){ .id = ++id, .type = SPICE_IMAGE_TYPE_BITMAP, .width = w, .height = h };
    d->image.bitmap = (QXLBitmap){ .format = SPICE_BITMAP_FMT_32BIT, .flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN, .x = w, .y = h, .stride = w * 4, .data = (uintptr_t)d->pixels };
    d->d.u.copy.src_bitmap = (uintptr_t)&d->image;
    d->d.u.copy.src_area = (QXLRect){ .right = w, .bottom = h };
    d->d.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    return d;
}
static void submit(struct draw *d)
{
    pthread_mutex_lock(&lock);
    bool room = head - tail < QUEUE, wake = false;
    d->since = now_s();
    if (room) {
        queue[head++ % QUEUE] = d;
        wake = armed;
        armed = false;
    }
    pthread_mutex_unlock(&lock);
    if (!room) { free(d); full++; }
    if (wake) spice_qxl_wakeup(&qxl);
}

/* ---- the load ---- */

static SpiceTimer *load_timer;
static int load_ms;
static const char *load;
static uint32_t noise[1 << 20];

static void step(void *opaque)
{
    static unsigned n;
    (void)opaque;
    n++, drawn++;
    timer_start(load_timer, load_ms);
    if (!strcmp(load, "text")) {
        struct draw *d = copy(0, 384, 640, 16);
        struct draw *s = copy(0, 0, 1, 1);
        s->d.type = QXL_COPY_BITS;
        s->d.bbox = (QXLRect){ .left = 0, .top = 0, .right = 640, .bottom = 384 };
        s->d.u.copy_bits.src_pos = (QXLPoint){ 0, 16 };
        s->d.surfaces_dest[0] = -1;
        submit(s);
        for (int y = 0; y < 16; y++)
            for (int x = 0; x < 640; x++) d->pixels[y * 640 + x] = noise[((x / 8 + n * 80) * 16 + y) & 0xfffff] >> (x % 8) & 1 && y > 2 && y < 14 ? 0xcccccc : 0;
        submit(d);
        return;
    }
    int w = !strcmp(load, "video") ? 640 : 1920, h = !strcmp(load, "video") ? 360 : 900;
    struct draw *d = copy(0, 0, w, h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            /* soft moving waves with grain: compresses like a photograph */
            int u = x + n * 7, v = y + n * 3, a = ((u * u / 97 + v * v / 61) >> 5) & 255, g = noise[(y * w + x + n * 7919) & 0xfffff] & 7;
            int r = ((u >> 2) + (a >> 1) + g) & 255, b = ((v >> 1) + (a >> 2) + g) & 255;
            d->pixels[y * w + x] = (r << 16) | (((r + b) / 2 & 255) << 8) | b;
        }
    submit(d);
}

static void push_scan_freg(SpiceKbdInstance *sin, uint8_t frag)
{
    static unsigned n;
    (void)sin;
    struct draw *d = copy(16 * (n++ % 100), 1040, 16, 16);
    for (int i = 0; i < 256; i++) d->pixels[i] = (i * 0x010101) ^ (frag << 8) ^ n;
    submit(d);
}
static uint8_t get_leds(SpiceKbdInstance *sin) { (void)sin; return 0; }
static const SpiceKbdInterface kbd_sif = {
    .base = { SPICE_INTERFACE_KEYBOARD, "latency_host", SPICE_INTERFACE_KEYBOARD_MAJOR, SPICE_INTERFACE_KEYBOARD_MINOR },
    .push_scan_freg = push_scan_freg, .get_leds = get_leds,
};
static SpiceKbdInstance kbd = { .base.sif = &kbd_sif.base };

static SpiceWatch *stdin_watch;

static void tell(int fd, int event, void *opaque)
{
    char line[64];
    (void)event, (void)opaque;
    if (read(fd, line, sizeof line) <= 0) {
        watch_remove(stdin_watch);
        return;
    }
    pthread_mutex_lock(&lock);
    printf("drawn %ld longest %.0f refused %ld\n", drawn, longest * 1e6, full);
    longest = full = 0;
    pthread_mutex_unlock(&lock);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: %s PORT idle|video|photo|text\n", argv[0]), 2;
    load = argv[2];
    for (int i = 0; i < 1 << 20; i++) noise[i] = noise[i ? i - 1 : 0] * 1664525u + 1013904223u;
    for (int i = 0; i < 1 << 20; i++) noise[i] = noise[i] >> 9 ^ noise[i] << 3;
    SpiceServer *s = spice_server_new();
    spice_server_set_addr(s, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(s, atoi(argv[1]));
    spice_server_set_noauth(s);
    if (spice_server_init(s, &core)) return 1;
    qxl.base.sif = &qxl_sif.base;
    spice_server_add_interface(s, &kbd.base);
    spice_server_add_interface(s, &qxl.base);
    QXLDevSurfaceCreate sc = { .width = W, .height = H, .stride = W * 4, .format = SPICE_SURFACE_FMT_32_xRGB, .mem = (uintptr_t)screen };
    spice_qxl_create_primary_surface(&qxl, 0, &sc);
    spice_server_vm_start(s);
    load_ms = !strcmp(load, "video") ? 40 : !strcmp(load, "photo") ? 100 : 20;
    load_timer = timer_add(step, NULL);
    if (strcmp(load, "idle")) timer_start(load_timer, load_ms);
    stdin_watch = watch_add(0, SPICE_WATCH_EVENT_READ, tell, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) iterate();
}
