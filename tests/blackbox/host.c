/*
 * A host with two QXL devices for tests, told what to do by lines on standard input; it answers each with a line.
 *
 *   paint DEVICE N SEED     N pictures out of a pool that both devices share (so caches and dictionaries meet again what they know)
 *   dump DEVICE FILE        the primary surface as a PPM
 *   scanout DEVICE W H      a GL scanout, in a memory file instead of a dmabuf; W 0: none
 *   scanout2 DEVICE W H PLANES      the same of 0 (none) to 4 planes, by spice_qxl_gl_scanout2()
 *   shape DEVICE W H STRIDE OFFSET FORMAT MODIFIER      a scanout of one plane of 4096 bytes, with any numbers
 *   draw DEVICE X Y W H COOKIE      "done COOKIE" comes when it is done
 *   hide DEVICE             destroys the primary surface: the screen is a scanout from now on
 *   screen DEVICE W H       a scanout with a picture, in a udmabuf where the kernel makes one, else in a sealed memory file
 *   fill DEVICE X Y W H VALUE       paints an area of the screen and draws it
 *   film DEVICE X Y W H FRAMES MS   the same with a moving picture, so many times (0: until the next line comes), so many
 *                           milliseconds apart
 *   picture FILE            the screen as a PPM
 *   draws                   "draws N QUICK LONGEST": how many draws of fill and film were done since it was last asked, and
 *                           the microseconds that a tenth of them stays below, and all
 *
 *   host (--port N | --unix PATH) [--compression N] [--devices N] [--streaming N] [--codecs LIST]
 *
 * With one device there is a tablet, too, whose sizes come as "tablet W H".
 */
#define main example_main
#include "../../examples/minimal-host.c"
#undef main
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { DEVICES = 2, POOL = 40, ROOM = 1024 };

static struct Device {
    QXLInstance qxl;
    uint32_t pixels[WIDTH * HEIGHT];
    struct Draw *queue[ROOM];
    unsigned head, tail;
    bool asleep;
} device[DEVICES];

static int get(QXLInstance *q, QXLCommandExt *ext)
{
    struct Device *d = &device[q->id];
    pthread_mutex_lock(&lock);
    bool some = d->head != d->tail;
    if (some) {
        *ext = d->queue[d->tail++ % ROOM]->ext;
    }
    pthread_mutex_unlock(&lock);
    return some;
}

static int ask(QXLInstance *q)
{
    struct Device *d = &device[q->id];
    pthread_mutex_lock(&lock);
    bool armed = d->asleep = d->head == d->tail;
    pthread_mutex_unlock(&lock);
    return armed;
}

static void put(struct Device *d, struct Draw *draw)
{
    for (bool room = false; !room;) {
        pthread_mutex_lock(&lock);
        room = d->head - d->tail < ROOM;
        if (room) {
            d->queue[d->head++ % ROOM] = draw;
        }
        bool wake = d->asleep;
        d->asleep = false;
        pthread_mutex_unlock(&lock);
        if (wake) {
            spice_qxl_wakeup(&d->qxl);
        }
        if (!room) {
            run_once();
        }
    }
}

static uint32_t random_number(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void paint(struct Device *d, int count, uint32_t seed)
{
    while (count--) {
        unsigned n = random_number(&seed) % POOL;
        int x = random_number(&seed) % (WIDTH - SIDE), y = random_number(&seed) % (HEIGHT - SIDE);
        struct Draw *draw = new_copy(x, y, n * 5);
        if (n % 2) { /* something for the dictionary: flat, with a repeating grain */
            for (int i = 0; i < SIDE * SIDE; i++) {
                draw->pixels[i] = (i * i / 7 % 16 << 20) | n * 997;
            }
        }
        draw->image.descriptor.id = 1 + n;
        draw->image.descriptor.flags = n % 3 ? QXL_IMAGE_CACHE : 0;
        put(d, draw);
    }
}

static void dump(struct Device *d, const char *path)
{
    QXLRect all = { .right = WIDTH, .bottom = HEIGHT };
    spice_qxl_update_area(&d->qxl, 0, &all, NULL, 0, 0);
    FILE *f = fopen(path, "wb");
    fprintf(f, "P6\n%d %d\n255\n", WIDTH, HEIGHT);
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        uint32_t p = d->pixels[i];
        fputc(p >> 16 & 255, f), fputc(p >> 8 & 255, f), fputc(p & 255, f);
    }
    fclose(f);
}

static int64_t microseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

enum { OWN_COOKIE = 1000000, TIMES = 4096 };
static _Atomic int64_t asked;
static _Atomic int n_times;
static int64_t times[TIMES];

static void done(QXLInstance *q, uint64_t cookie)
{
    (void)q;
    if (cookie == OWN_COOKIE) {
        if (n_times < TIMES) {
            times[n_times++] = microseconds() - asked;
        }
        asked = 0;
        return;
    }
    printf("done %llu\n", (unsigned long long)cookie);
}

/* --- A screen with pixels. */

static struct Screen {
    uint32_t *pixels;
    int width, height;
} shown;

static void draw_screen(struct Device *d, int x, int y, int w, int h)
{
    while (asked) { /* one at a time, as hosts do it */
        usleep(50);
    }
    asked = microseconds();
    spice_qxl_gl_draw_async(&d->qxl, x, y, w, h, OWN_COOKIE);
}

static void paint_screen(int x, int y, int w, int h, int n)
{
    for (int j = y; j < y + h && j < shown.height; j++) {
        for (int i = x; i < x + w && i < shown.width; i++) { /* soft waves that move */
            int a = (i + 3 * n) % 512, b = (j + 2 * n) % 512;
            a = a < 256 ? a : 511 - a, b = b < 256 ? b : 511 - b;
            shown.pixels[j * shown.width + i] = a << 16 | b << 8 | (a + b) / 2;
        }
    }
}

static void show_screen(struct Device *d, int width, int height)
{
    struct { uint32_t memfd, flags; uint64_t offset, size; } create = { 0 };
    size_t page = sysconf(_SC_PAGESIZE), size = ((size_t)width * height * 4 + page - 1) / page * page;
    int memory = memfd_create("screen", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), fd = -1;

    ftruncate(memory, size);
    fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK);
    shown = (struct Screen){ mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0), width, height };
    paint_screen(0, 0, width, height, 0);
    if (udmabuf >= 0) {
        create.memfd = memory, create.size = size;
        fd = ioctl(udmabuf, _IOW('u', 0x42, create), &create);
        close(udmabuf);
    }
    printf("screen in a %s\n", fd < 0 ? "memory file" : "udmabuf");
    if (fd < 0) {
        fd = memory;
    } else {
        close(memory);
    }
    spice_qxl_gl_scanout(&d->qxl, fd, width, height, width * 4, 0x34325258, 1);
}

static void tick(void *opaque) { (void)opaque; }

/* Set when a line comes in. */
static bool told;

static void film(struct Device *d, int x, int y, int w, int h, int frames, int ms)
{
    SpiceTimer *timer = timer_add(tick, NULL);
    int64_t next = microseconds();
    told = false;
    for (int n = 1; frames ? n <= frames : !told && !quit; n++) {
        paint_screen(x, y, w, h, n);
        draw_screen(d, x, y, w, h);
        for (next += ms * 1000; microseconds() < next;) {
            timer_start(timer, (next - microseconds()) / 1000);
            run_once();
        }
    }
    timer_remove(timer);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void tell_draws(void)
{
    while (asked) {
        usleep(50);
    }
    int n = n_times;
    qsort(times, n, sizeof times[0], by_value);
    printf("draws %d %lld %lld\n", n, n ? (long long)times[n / 10] : 0, n ? (long long)times[n - 1] : 0);
    n_times = 0;
}

static void picture(const char *path)
{
    FILE *f = fopen(path, "wb");
    fprintf(f, "P6\n%d %d\n255\n", shown.width, shown.height);
    for (int i = 0; i < shown.width * shown.height; i++) {
        uint32_t p = shown.pixels[i];
        fputc(p >> 16 & 255, f), fputc(p >> 8 & 255, f), fputc(p & 255, f);
    }
    fclose(f);
}

static void logical_size(SpiceTabletInstance *tablet, int width, int height)
{
    (void)tablet;
    printf("tablet %d %d\n", width, height);
}

static void ignore_position(SpiceTabletInstance *tablet, int x, int y, uint32_t buttons) { (void)tablet, (void)x, (void)y, (void)buttons; }
static void ignore_wheel(SpiceTabletInstance *tablet, int wheel, uint32_t buttons) { (void)tablet, (void)wheel, (void)buttons; }
static void ignore_buttons(SpiceTabletInstance *tablet, uint32_t buttons) { (void)tablet, (void)buttons; }

static const SpiceTabletInterface tablet_interface = {
    .base = { SPICE_INTERFACE_TABLET, "test tablet", SPICE_INTERFACE_TABLET_MAJOR, SPICE_INTERFACE_TABLET_MINOR },
    .set_logical_size = logical_size, .position = ignore_position, .wheel = ignore_wheel, .buttons = ignore_buttons,
};
static SpiceTabletInstance tablet = { .base.sif = &tablet_interface.base };

/* Looked up at run time: the headers of 0.15.1 do not declare it. */
static void scanout_planes(struct Device *d, int width, int height, int planes)
{
    void (*scanout2)(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *, const uint32_t *, uint32_t, uint32_t, uint64_t,
                     int) = (void *)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
    int fds[8];
    uint32_t offsets[8], strides[8];

    for (int i = 0; i < planes; i++) {
        fds[i] = memfd_create("plane", MFD_CLOEXEC);
        dprintf(fds[i], "plane %d", i);
        offsets[i] = 0;
        strides[i] = width * 4;
    }
    if (planes) {
        scanout2(&d->qxl, fds, width, height, offsets, strides, planes, 0x34325258, 0, 1);
    } else {
        scanout2(&d->qxl, NULL, 0, 0, NULL, NULL, 0, 0, 0x00ffffffffffffff, 0);
    }
    for (int i = 0; planes > 4 && i < planes; i++) { /* refused: they are ours still */
        if (close(fds[i])) {
            printf("taken\n");
        }
    }
}

static void scanout_shape(struct Device *d, const uint32_t number[5], uint64_t modifier)
{
    void (*scanout2)(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *, const uint32_t *, uint32_t, uint32_t, uint64_t,
                     int) = (void *)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
    int fd = memfd_create("plane", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    ftruncate(fd, 4096);
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
    scanout2(&d->qxl, &fd, number[0], number[1], &number[3], &number[2], 1, number[4], modifier, 1);
}

static void read_line(int fd, int event, void *opaque)
{
    static char text[4096];
    static size_t used;
    char file[4000];
    int n, a, b, c, e, cookie, ms;
    uint32_t number[5];
    unsigned long long modifier;

    (void)event, (void)opaque;
    ssize_t got = read(fd, text + used, sizeof text - 1 - used);
    if (got <= 0) {
        quit = 1;
        return;
    }
    used += got;
    text[used] = 0;
    told = true;
    for (char *end; (end = strchr(text, '\n'));) {
        *end = 0;
        if (sscanf(text, "paint %d %d %d", &n, &a, &b) == 3) {
            paint(&device[n], a, b);
        } else if (sscanf(text, "dump %d %s", &n, file) == 2) {
            dump(&device[n], file);
        } else if (sscanf(text, "scanout2 %d %d %d %d", &n, &a, &b, &c) == 4) {
            scanout_planes(&device[n], a, b, c);
        } else if (sscanf(text, "scanout %d %d %d", &n, &a, &b) == 3) {
            int memory = -1;
            if (a) {
                memory = memfd_create("scanout", MFD_CLOEXEC);
                dprintf(memory, "%dx%d", a, b);
            }
            spice_qxl_gl_scanout(&device[n].qxl, memory, a, b, a * 4, a ? 0x34325258 : 0, 1);
        } else if (sscanf(text, "shape %d %u %u %u %u %u %llu", &n, number, number + 1, number + 2, number + 3, number + 4, &modifier) == 7) {
            scanout_shape(&device[n], number, modifier);
        } else if (sscanf(text, "draw %d %d %d %d %d %d", &n, &a, &b, &c, &e, &cookie) == 6) {
            spice_qxl_gl_draw_async(&device[n].qxl, a, b, c, e, cookie);
        } else if (sscanf(text, "hide %d", &n) == 1) {
            spice_qxl_destroy_primary_surface(&device[n].qxl, 0);
        } else if (sscanf(text, "screen %d %d %d", &n, &a, &b) == 3) {
            show_screen(&device[n], a, b);
        } else if (sscanf(text, "fill %d %d %d %d %d %d", &n, &a, &b, &c, &e, &cookie) == 6) {
            for (int j = b; j < b + e; j++) {
                memset(shown.pixels + j * shown.width + a, cookie, c * 4);
            }
            draw_screen(&device[n], a, b, c, e);
        } else if (sscanf(text, "film %d %d %d %d %d %d %d", &n, &a, &b, &c, &e, &cookie, &ms) == 7) {
            film(&device[n], a, b, c, e, cookie, ms);
        } else if (sscanf(text, "picture %s", file) == 1) {
            picture(file);
        } else if (!strcmp(text, "draws")) {
            tell_draws();
        }
        printf("ok %s\n", text);
        used -= end + 1 - text;
        memmove(text, end + 1, used + 1);
    }
}

int main(int argc, char **argv)
{
    static QXLInterface interface;
    SpiceServer *server = spice_server_new();
    int devices = DEVICES;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) {
            spice_server_set_addr(server, "127.0.0.1", 0);
            spice_server_set_port(server, atoi(argv[i + 1]));
        } else if (!strcmp(argv[i], "--unix")) {
            spice_server_set_addr(server, argv[i + 1], SPICE_ADDR_FLAG_UNIX_ONLY);
        } else if (!strcmp(argv[i], "--devices")) {
            devices = atoi(argv[i + 1]);
        } else if (!strcmp(argv[i], "--streaming")) {
            spice_server_set_streaming_video(server, atoi(argv[i + 1]));
        } else if (!strcmp(argv[i], "--codecs")) {
            spice_server_set_video_codecs(server, argv[i + 1]);
        } else if (!strcmp(argv[i], "--compression")) {
            spice_server_set_image_compression(server, atoi(argv[i + 1]));
        }
    }
    spice_server_set_noauth(server);
    if (spice_server_init(server, &core)) {
        return 1;
    }
    interface = qxl_interface;
    interface.get_command = get;
    interface.req_cmd_notification = ask;
    interface.async_complete = done;
    if (devices == 1 && spice_server_add_interface(server, &tablet.base)) {
        return 1;
    }
    for (int i = 0; i < devices; i++) {
        device[i].qxl.base.sif = &interface.base;
        device[i].qxl.id = i;
        if (spice_server_add_interface(server, &device[i].qxl.base)) {
            return 1;
        }
        QXLDevSurfaceCreate surface = { .width = WIDTH, .height = HEIGHT, .stride = WIDTH * 4, .format = SPICE_SURFACE_FMT_32_xRGB,
                                        .mem = (uintptr_t)device[i].pixels, .mouse_mode = devices == 1 };
        spice_qxl_create_primary_surface(&device[i].qxl, 0, &surface);
    }
    spice_server_vm_start(server);
    watch_add(0, SPICE_WATCH_EVENT_READ, read_line, NULL);
    printf("serving\n");
    while (!quit) {
        run_once();
    }
    spice_server_destroy(server);
    return 0;
}
