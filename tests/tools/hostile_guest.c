/*
 * A host whose guest does nothing wrong in any single command, and costs as much as it can: attacks on the memory and the
 * time of the library. Beside it runs a second, peaceful device, on which each key press paints.
 *
 *   cc -O2 -o hostile_guest hostile_guest.c $(pkg-config --cflags --libs spice-server) -lpthread
 *   ./hostile_guest PORT SECONDS ATTACK[:N[:M]]...
 *
 * Runs the attacks one after the other, again and again for that many seconds (0: once). Each gives a line
 *   ATTACK ms=... cpu=... worst=... rss=... released=N/N
 * with the time of the attack, the processor time of this process during the request that took most of it and the time of the
 * longest request (those that the guest or the host waits for), the resident memory then (MiB), and how many of the commands
 * came back. At the end "done" comes, and the host serves on until standard input is closed; for each line there it
 * says "heap=... KiB": what is in use of the memory that the C library has.
 */
#define main example_main
#include "../../examples/minimal-host.c"
#undef main
#include <malloc.h>
#include <unistd.h>

enum { ROOM = 1 << 18, PEACE = 32 };

/* --- The two devices. The ring of the hostile one takes what an attack submits; that of the other one has 32 places. */

static QXLInstance hostile, peaceful;
static QXLCommandExt ring[ROOM], cursor_ring, calm[PEACE];
static unsigned ring_head, ring_tail, cursors, calm_head, calm_tail, submitted, released;
static bool ring_asleep, calm_asleep;
static QXLDrawable calm_draw[PEACE];

static void init_info(QXLInstance *q, QXLDevInitInfo *info)
{
    get_init_info(q, info);
    info->n_surfaces = 1024;
}

static int next_command(QXLInstance *q, QXLCommandExt *ext)
{
    pthread_mutex_lock(&lock);
    bool some = q == &hostile ? ring_head != ring_tail : calm_head != calm_tail;
    if (some) {
        *ext = q == &hostile ? ring[ring_tail++ % ROOM] : calm[calm_tail++ % PEACE];
    }
    pthread_mutex_unlock(&lock);
    return some;
}

static int ask_for_notification(QXLInstance *q)
{
    pthread_mutex_lock(&lock);
    bool armed = q == &hostile ? (ring_asleep = ring_head == ring_tail) : (calm_asleep = calm_head == calm_tail);
    pthread_mutex_unlock(&lock);
    return armed;
}

static int next_cursor(QXLInstance *q, QXLCommandExt *ext)
{
    pthread_mutex_lock(&lock);
    bool some = q == &hostile && cursors;
    if (some) {
        cursors--;
        *ext = cursor_ring;
    }
    pthread_mutex_unlock(&lock);
    return some;
}

static void count_release(QXLInstance *q, QXLReleaseInfoExt info)
{
    (void)info;
    if (q == &hostile) {
        __sync_fetch_and_add(&released, 1);
    }
}

static const QXLInterface attack_interface = {
    .base = { .type = SPICE_INTERFACE_QXL, .description = "hostile guest", .major_version = SPICE_INTERFACE_QXL_MAJOR,
              .minor_version = SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached_worker, .set_compression_level = set_compression_level, .get_init_info = init_info,
    .get_command = next_command, .req_cmd_notification = ask_for_notification, .release_resource = count_release,
    .get_cursor_command = next_cursor, .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update, .flush_resources = flush_resources, .async_complete = async_complete,
};
static QXLInstance hostile = { .base.sif = &attack_interface.base };
static QXLInstance peaceful = { .base.sif = &attack_interface.base, .id = 1 };

/* --- Memory of one attack. It is freed when all commands have come back. */

static struct block { struct block *next; } *blocks;

static void *room(size_t size)
{
    struct block *block = calloc(1, sizeof *block * 2 + size);
    if (!block) {
        abort();
    }
    block->next = blocks;
    blocks = block;
    return block + 2;
}

static void put(uint32_t type, void *command)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        bool fits = ring_head - ring_tail < ROOM, wake = ring_asleep;
        if (fits) {
            ring[ring_head++ % ROOM] = (QXLCommandExt){ .cmd = { .type = type, .data = (uintptr_t)command } };
            ring_asleep = false;
            submitted++;
        }
        pthread_mutex_unlock(&lock);
        if (wake) {
            spice_qxl_wakeup(&hostile);
        }
        if (fits) {
            return;
        }
        usleep(1000);
    }
}

static void wait_until_taken(void)
{
    while (__atomic_load_n(&ring_tail, __ATOMIC_SEQ_CST) != ring_head) {
        usleep(500);
    }
}

/* --- Commands. */

static QXLRect box(int left, int top, int right, int bottom)
{
    return (QXLRect){ .left = left, .top = top, .right = right, .bottom = bottom };
}

static QXLDrawable *drawable(uint8_t type, QXLRect bbox, int effect)
{
    QXLDrawable *d = room(sizeof *d);
    d->type = type;
    d->effect = effect;
    d->bbox = bbox;
    for (int i = 0; i < 3; i++) {
        d->surfaces_dest[i] = -1;
    }
    return d;
}

static QXLDrawable *fill(QXLRect bbox, int effect, uint32_t colour)
{
    QXLDrawable *d = drawable(QXL_DRAW_FILL, bbox, effect);
    d->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    d->u.fill.brush.u.color = colour;
    d->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    return d;
}

/* Gives a command so many clip rectangles, which the caller sets. */
static QXLRect *clip(QXLDrawable *d, unsigned count)
{
    QXLClipRects *clip = room(sizeof *clip + count * sizeof(QXLRect));
    clip->num_rects = count;
    clip->chunk.data_size = count * sizeof(QXLRect);
    d->clip.type = SPICE_CLIP_TYPE_RECTS;
    d->clip.data = (uintptr_t)clip;
    return (QXLRect *)clip->chunk.data;
}

static QXLImage *bitmap(uint64_t id, int width, int height, void *pixels)
{
    QXLImage *image = room(sizeof *image);
    image->descriptor = (QXLImageDescriptor){ .id = id, .type = SPICE_IMAGE_TYPE_BITMAP, .width = width, .height = height };
    image->bitmap.format = SPICE_BITMAP_FMT_32BIT;
    image->bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    image->bitmap.x = width;
    image->bitmap.y = height;
    image->bitmap.stride = width * 4;
    image->bitmap.data = (uintptr_t)pixels;
    return image;
}

static QXLDrawable *copy(QXLRect to, QXLImage *image, QXLRect from, int effect)
{
    QXLDrawable *d = drawable(QXL_DRAW_COPY, to, effect);
    d->u.copy.src_bitmap = (uintptr_t)image;
    d->u.copy.src_area = from;
    d->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    return d;
}

static QXLImage *surface_image(uint32_t id, int width, int height)
{
    QXLImage *image = room(sizeof *image);
    image->descriptor = (QXLImageDescriptor){ .type = SPICE_IMAGE_TYPE_SURFACE, .width = width, .height = height };
    image->surface_image.surface_id = id;
    return image;
}

static void surface(uint32_t id, int format, int width, int height, int stride)
{
    QXLSurfaceCmd *c = room(sizeof *c);
    c->surface_id = id;
    c->type = QXL_SURFACE_CMD_CREATE;
    c->u.surface_create.format = format;
    c->u.surface_create.width = width;
    c->u.surface_create.height = height;
    c->u.surface_create.stride = stride;
    c->u.surface_create.data = (uintptr_t)room((size_t)stride * height);
    put(QXL_CMD_SURFACE, c);
}

static void primary(QXLInstance *q, int width, int height, void *pixels)
{
    QXLDevSurfaceCreate create = { .width = width, .height = height, .stride = width * 4,
                                   .format = SPICE_SURFACE_FMT_32_xRGB, .mem = (uintptr_t)pixels };
    spice_qxl_create_primary_surface(q, 0, &create);
}

static void new_screen(int width, int height)
{
    primary(&hostile, width, height, room((size_t)width * height * 4));
}

/* --- Synchronous requests, as a virtual processor makes them. */

static int64_t worst, worst_cpu;

struct moment { int64_t ms, cpu; };

static struct moment moment(void)
{
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (struct moment){ .ms = now_ms(), .cpu = cpu.tv_sec * 1000LL + cpu.tv_nsec / 1000000 };
}

static void took(struct moment since)
{
    struct moment now = moment();
    worst = now.ms - since.ms > worst ? now.ms - since.ms : worst;
    worst_cpu = now.cpu - since.cpu > worst_cpu ? now.cpu - since.cpu : worst_cpu;
}

static void read_pixels(QXLRect area)
{
    struct moment start = moment();
    spice_qxl_update_area(&hostile, 0, &area, NULL, 0, 0);
    took(start);
}

/* --- The attacks: `n` is how often, `m` how large. */

/* Columns and rows as clip rectangles: together they cut the box into the square of their number. */
static void clip_grid(QXLDrawable *d, int n)
{
    QXLRect *r = clip(d, 2 * n);
    for (int i = 0; i < n; i++) {
        r[i] = box(2 * i, 0, 2 * i + 1, 2 * n);
        r[n + i] = box(0, 2 * i, 2 * n, 2 * i + 1);
    }
}

static void grid(int n, int m)
{
    new_screen(64, 64);
    surface(1, SPICE_SURFACE_FMT_1_A, 8192, 8192, 1024);
    for (int k = 0; k < n; k++) {
        QXLDrawable *d = fill(box(0, 0, 64, 64), QXL_EFFECT_OPAQUE, k);
        clip_grid(d, 8 * m); /* most of it outside of the surface */
        put(QXL_CMD_DRAW, d);
        d = fill(box(0, 0, 8192, 8192), QXL_EFFECT_BLEND, 1);
        d->surface_id = 1;
        clip_grid(d, m);
        put(QXL_CMD_DRAW, d);
    }
    read_pixels(box(0, 0, 64, 64));
}

/* Each takes a snapshot of the whole screen and keeps it until it is drawn. */
static void snapshots(int n, int m)
{
    new_screen(m, m);
    for (int k = 0; k < n; k++) {
        QXLDrawable *d = drawable(QXL_DRAW_ROP3, box(k % m, 0, k % m + 1, 1), QXL_EFFECT_BLEND);
        d->self_bitmap = 1;
        d->self_bitmap_area = box(0, 1, m, m);
        d->u.rop3.src_area = box(0, 0, 1, 1);
        d->u.rop3.rop3 = 0x5a;
        d->u.rop3.brush.type = SPICE_BRUSH_TYPE_SOLID;
        put(QXL_CMD_DRAW, d);
    }
    wait_until_taken();
    read_pixels(box(0, 0, m, 1));
}

/* Surface i is drawn from surface i + 1: reading the screen draws all of them, one inside of the other. */
static void chain(int n, int m)
{
    new_screen(64, 64);
    for (int i = 1; i <= n; i++) {
        surface(i, SPICE_SURFACE_FMT_32_xRGB, 64, 64, 256);
    }
    QXLDrawable *d = fill(box(0, 0, 64, 64), QXL_EFFECT_BLEND, m);
    d->surface_id = n;
    put(QXL_CMD_DRAW, d);
    for (int i = n - 1; i >= 0; i--) {
        d = copy(box(0, 0, 64, 64), surface_image(i + 1, 64, 64), box(0, 0, 64, 64), QXL_EFFECT_BLEND);
        d->surface_id = i;
        d->surfaces_dest[0] = i + 1;
        d->surfaces_rects[0] = box(0, 0, 64, 64);
        put(QXL_CMD_DRAW, d);
    }
    read_pixels(box(0, 0, 64, 64));
}

/* One pixel in four of rows 1 to 4, shifted. */
static void clip_comb(QXLDrawable *d, int m, int shift)
{
    QXLRect *r = clip(d, 4 * (m / 4));
    for (int y = 1; y < 5; y++) {
        for (int x = 0; x < m / 4; x++) {
            *r++ = box(4 * x + shift + (y & 1), y, 4 * x + shift + 1 + (y & 1), y + 1);
        }
    }
}

/* Commands over even columns, and one over odd columns, which all of the others must be compared with. */
static void combs(int n, int m)
{
    new_screen(m, 8);
    for (int k = 0; k < n; k++) {
        QXLDrawable *d = fill(box(0, 1, m, 5), QXL_EFFECT_BLEND, k);
        clip_comb(d, m, 0);
        put(QXL_CMD_DRAW, d);
    }
    wait_until_taken();
    QXLDrawable *d = fill(box(0, 0, m, 6), QXL_EFFECT_OPAQUE, 9);
    clip_comb(d, m, 2);
    put(QXL_CMD_DRAW, d);
    read_pixels(box(0, 7, 1, 8));
}

static QXLDrawable *composite(int side, uint32_t flags, QXLImage *source, QXLImage *mask)
{
    QXLTransform *turned = room(sizeof *turned);
    *turned = (QXLTransform){ .t00 = 3000, .t01 = 1700, .t10 = 1300, .t11 = 2900 };
    QXLDrawable *d = drawable(QXL_DRAW_COMPOSITE, box(0, 0, side, side), QXL_EFFECT_BLEND);
    d->u.composite.flags = flags;
    d->u.composite.src = (uintptr_t)source;
    d->u.composite.src_transform = (uintptr_t)turned;
    d->u.composite.mask = (uintptr_t)mask;
    d->u.composite.mask_transform = mask ? (uintptr_t)turned : 0;
    return d;
}

/* OVER with a turned, smooth source that repeats its edge; then HSL colour with a mask. None covers another. */
static void composites(int n, int m)
{
    new_screen(m, m);
    surface(1, SPICE_SURFACE_FMT_32_ARGB, 256, 256, 1024);
    for (int k = 0; k < n; k++) {
        QXLImage *source = surface_image(1, 256, 256);
        put(QXL_CMD_DRAW, composite(m, 3 | 1 << 8 | 2 << 14, source, NULL));
        put(QXL_CMD_DRAW, composite(m / 4, 0x3d | 1 << 8 | 1 << 11 | 1 << 14 | 1 << 16 | 1 << 19, source, source));
        if (k % 8 == 0) {
            read_pixels(box(0, 0, 1, 1));
        }
    }
    wait_until_taken();
    read_pixels(box(0, 0, m, m));
}

/* Lines from edge to edge, and glyphs as large as the screen, all in one command each. */
static void lines_and_glyphs(int n, int m)
{
    new_screen(m, m);
    int points = 20000, glyphs = 200, row = (m + 7) / 8;
    struct { QXLPath path; QXLPathSeg seg; QXLPointFix points[]; } __attribute__((packed)) *path = room(sizeof *path + points * 8);
    path->path.data_size = path->path.chunk.data_size = sizeof(QXLPathSeg) + points * 8;
    path->seg.flags = SPICE_PATH_BEGIN;
    path->seg.count = points;
    for (int i = 0; i < points; i++) {
        path->points[i] = (QXLPointFix){ .x = i * 7 % m << 4, .y = i % 2 ? m << 4 : 0 };
    }
    size_t one = sizeof(QXLRasterGlyph) + (size_t)row * m;
    QXLString *string = room(sizeof *string + one * glyphs);
    string->data_size = string->chunk.data_size = one * glyphs;
    string->length = glyphs;
    string->flags = SPICE_STRING_FLAGS_RASTER_A1;
    for (int i = 0; i < glyphs; i++) {
        QXLRasterGlyph *glyph = (QXLRasterGlyph *)(string->chunk.data + one * i);
        glyph->width = glyph->height = m;
        memset(glyph->data, 0x55, (size_t)row * m);
    }
    for (int k = 0; k < n; k++) {
        QXLDrawable *d = drawable(QXL_DRAW_STROKE, box(0, 0, m, m), QXL_EFFECT_BLEND);
        d->u.stroke.path = (uintptr_t)path;
        d->u.stroke.brush.type = SPICE_BRUSH_TYPE_SOLID;
        d->u.stroke.fore_mode = SPICE_ROPD_OP_XOR;
        put(QXL_CMD_DRAW, d);
        d = drawable(QXL_DRAW_TEXT, box(0, 0, m, m), QXL_EFFECT_BLEND);
        d->u.text.str = (uintptr_t)string;
        d->u.text.fore_brush.type = SPICE_BRUSH_TYPE_SOLID;
        d->u.text.fore_mode = SPICE_ROPD_OP_PUT;
        put(QXL_CMD_DRAW, d);
    }
    wait_until_taken();
    read_pixels(box(0, 0, m, m));
}

/* A chequered screen, pixel by pixel: what the host has to be told of grows. */
static void chequers(int n, int m)
{
    new_screen(m, m);
    for (int k = 0; k < n; k++) {
        int y = 2 * k / m % m, x = 2 * k % m + (y & 1);
        put(QXL_CMD_DRAW, fill(box(x % m, y, x % m + 1, y + 1), QXL_EFFECT_OPAQUE, k));
    }
    wait_until_taken();
    read_pixels(box(0, 0, m, m));
}

/* An image of n x m pixels, of which one is drawn, made of chunks that are all the same memory. */
static void endless_image(int n, int m)
{
    size_t row = (size_t)n * 4, left = row * m, piece = 16 << 20, count = left / piece + 1;
    uint8_t *memory = room(piece + 64 * count + 64);
    for (size_t k = 0; k < count && left; k++) {
        QXLDataChunk *chunk = (QXLDataChunk *)(memory + 64 * k);
        chunk->data_size = left < piece ? left : piece;
        left -= chunk->data_size;
        chunk->next_chunk = left ? (uintptr_t)(memory + 64 * (k + 1)) : 0;
    }
    new_screen(64, 64);
    QXLImage *image = bitmap(1, n, m, memory);
    image->bitmap.flags = QXL_BITMAP_TOP_DOWN;
    put(QXL_CMD_DRAW, copy(box(0, 0, 1, 1), image, box(0, 0, 1, 1), QXL_EFFECT_OPAQUE));
    wait_until_taken();
    read_pixels(box(0, 0, 1, 1));
}

/* A video that commands with ever more holes are drawn over. */
static void holes_in_video(int n, int m)
{
    enum { SIDE_OF_VIDEO = 512 };
    new_screen(SIDE_OF_VIDEO, SIDE_OF_VIDEO);
    uint32_t *pixels = room(SIDE_OF_VIDEO * SIDE_OF_VIDEO * 4);
    for (int i = 0; i < SIDE_OF_VIDEO * SIDE_OF_VIDEO; i++) {
        pixels[i] = i / 8 * 0x010203;
    }
    QXLRect all = box(0, 0, SIDE_OF_VIDEO, SIDE_OF_VIDEO);
    for (int k = 0; k < 25; k++) {
        put(QXL_CMD_DRAW, copy(all, bitmap(k + 1, SIDE_OF_VIDEO, SIDE_OF_VIDEO, pixels), all, QXL_EFFECT_OPAQUE));
        usleep(40000);
    }
    for (int k = 0; k < n; k++) {
        QXLDrawable *d = fill(all, QXL_EFFECT_OPAQUE, k);
        QXLRect *r = clip(d, m);
        for (int i = 0; i < m; i++) {
            int y = (i + k * m) * 2 / SIDE_OF_VIDEO % SIDE_OF_VIDEO, x = (i * 2 + (y & 1)) % SIDE_OF_VIDEO;
            r[i] = box(x, y, x + 1, y + 1);
        }
        put(QXL_CMD_DRAW, d);
    }
    wait_until_taken();
    read_pixels(all);
}

/* Images of 4 x 4 pixels, each another one: whatever is kept for each image adds up. */
static void tiny_images(int n, int m)
{
    new_screen(64, 64);
    for (int k = 0; k < n; k++) {
        uint32_t *pixels = room(64);
        for (int i = 0; i < 16; i++) {
            pixels[i] = (k * 16 + i) * 2654435761u;
        }
        int x = k * 4 % 64, y = k / 16 * 4 % 64;
        QXLImage *image = bitmap((uint64_t)(m + k) << 32 | 3, 4, 4, pixels);
        put(QXL_CMD_DRAW, copy(box(x, y, x + 4, y + 4), image, box(0, 0, 4, 4), QXL_EFFECT_BLEND));
        if (k % 64 == 63) {
            wait_until_taken();
        }
    }
    wait_until_taken();
}

/* The largest pointer shapes. */
static void shapes(int n, int m)
{
    enum { PIXELS = 1024 };
    new_screen(64, 64);
    QXLCursorCmd *set = room(sizeof *set);
    QXLCursor *cursor = room(sizeof *cursor + PIXELS * PIXELS * 4);
    cursor->header.type = SPICE_CURSOR_TYPE_ALPHA;
    cursor->header.width = cursor->header.height = PIXELS;
    cursor->data_size = cursor->chunk.data_size = PIXELS * PIXELS * 4;
    set->type = QXL_CURSOR_SET;
    set->u.set.visible = m;
    set->u.set.shape = (uintptr_t)cursor;
    pthread_mutex_lock(&lock);
    cursor_ring = (QXLCommandExt){ .cmd = { .type = QXL_CMD_CURSOR, .data = (uintptr_t)set } };
    pthread_mutex_unlock(&lock);
    for (int k = 0; k < n; k++) {
        __atomic_store_n(&cursors, 1, __ATOMIC_SEQ_CST);
        submitted++;
        spice_qxl_wakeup(&hostile);
        while (__atomic_load_n(&cursors, __ATOMIC_SEQ_CST)) {
            usleep(500);
        }
    }
}

/* Requests that nobody waits for, while the worker is busy. */
static void requests(int n, int m)
{
    new_screen(m, m);
    surface(1, SPICE_SURFACE_FMT_32_ARGB, 256, 256, 1024);
    for (int k = 0; k < 8; k++) {
        put(QXL_CMD_DRAW, composite(m, 3 | 1 << 8 | 2 << 14, surface_image(1, 256, 256), NULL));
    }
    for (int k = 0; k < n; k++) {
        struct moment start = moment();
        spice_qxl_del_memslot(&hostile, 0, 7);
        took(start);
    }
}

/* Requests that are refused, each of which the library says something about. */
static void refusals(int n, int m)
{
    for (int k = 0; k < n; k++) {
        QXLDevSurfaceCreate create = { .width = m, .height = m, .stride = m * 4, .format = 77, .mem = (uintptr_t)screen };
        spice_qxl_create_primary_surface(&hostile, 0, &create);
        QXLDevMemSlot slot = { .slot_id = 99, .virt_end = 1 };
        spice_qxl_add_memslot(&hostile, &slot);
    }
}

static volatile bool refilling;

static void *refill(void *cheap)
{
    while (refilling) {
        if (ring_head - __atomic_load_n(&ring_tail, __ATOMIC_SEQ_CST) < 32) {
            put(QXL_CMD_DRAW, cheap);
        } else {
            usleep(10);
        }
    }
    return NULL;
}

/* One processor refills the ring for ever while another one wants to read the screen. */
static void refilled_ring(int n, int m)
{
    pthread_t thread;
    new_screen(m, m);
    refilling = true;
    pthread_create(&thread, NULL, refill, fill(box(0, 0, m, m), QXL_EFFECT_OPAQUE, 3));
    for (int k = 0; k < n; k++) {
        read_pixels(box(0, 0, 1, 1));
    }
    refilling = false;
    pthread_join(thread, NULL);
}

/* A stop of the machine in the middle of it all must give back everything. */
static void stop(SpiceServer *server)
{
    struct moment start = moment();
    spice_server_vm_stop(server);
    took(start);
}

static const struct attack {
    const char *name;
    void (*run)(int n, int m);
    int n, m;
} attacks[] = {
    { "grid", grid, 4, 4000 },           { "snapshots", snapshots, 40, 1500 },     { "chain", chain, 985, 7 },
    { "combs", combs, 40, 32000 },       { "composites", composites, 8, 4000 },    { "lines", lines_and_glyphs, 8, 1500 },
    { "chequers", chequers, 50000, 2048 }, { "image", endless_image, 16000, 32000 }, { "holes", holes_in_video, 16, 16384 },
    { "tiny", tiny_images, 20000, 0 },   { "shapes", shapes, 20, 1 },              { "requests", requests, 200000, 3000 },
    { "refusals", refusals, 2000, 64 },  { "refill", refilled_ring, 50, 64 },
};

static long rss_mib(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2) {
        abort();
    }
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE) >> 20;
}

static void run(SpiceServer *server, const char *which)
{
    char name[32] = "";
    int n = 0, m = 0, given = sscanf(which, "%31[^:]:%d:%d", name, &n, &m);
    const struct attack *attack = attacks, *end = attacks + sizeof attacks / sizeof *attacks;
    while (attack < end && strcmp(attack->name, name)) {
        attack++;
    }
    if (attack == end) {
        fprintf(stderr, "no attack %s\n", name);
        exit(2);
    }
    submitted = released = worst = worst_cpu = 0;
    int64_t start = now_ms();
    attack->run(given > 1 ? n : attack->n, given > 2 ? m : attack->m);
    long rss = rss_mib();
    wait_until_taken();
    stop(server);
    spice_qxl_destroy_surfaces(&hostile);
    spice_qxl_reset_cursor(&hostile);
    printf("%s ms=%lld cpu=%lld worst=%lld rss=%ld released=%u/%u\n", name, (long long)(now_ms() - start),
           (long long)worst_cpu, (long long)worst, rss, __atomic_load_n(&released, __ATOMIC_SEQ_CST), submitted);
    spice_server_vm_start(server);
    while (blocks) {
        struct block *block = blocks;
        blocks = block->next;
        free(block);
    }
}

/* --- The peaceful device: it paints a square whenever a key is pressed. */

static void paint(SpiceKbdInstance *sin, uint8_t frag)
{
    (void)sin;
    if (frag & 0x80) {
        return; /* a key that is released */
    }
    pthread_mutex_lock(&lock);
    if (calm_head - calm_tail >= PEACE / 2) { /* the newest ones taken may still wait to be drawn */
        pthread_mutex_unlock(&lock);
        return;
    }
    QXLDrawable *d = &calm_draw[calm_head % PEACE];
    memset(d, 0, sizeof *d);
    d->type = QXL_DRAW_FILL;
    d->effect = QXL_EFFECT_OPAQUE;
    d->bbox = box(calm_head % 8 * 8, 0, calm_head % 8 * 8 + 8, 8);
    d->u.fill.brush.type = SPICE_BRUSH_TYPE_SOLID;
    d->u.fill.brush.u.color = calm_head * 0x10305 & 0xffffff;
    d->u.fill.rop_descriptor = SPICE_ROPD_OP_PUT;
    memset(d->surfaces_dest, 0xff, sizeof d->surfaces_dest);
    calm[calm_head++ % PEACE] = (QXLCommandExt){ .cmd = { .type = QXL_CMD_DRAW, .data = (uintptr_t)d } };
    bool wake = calm_asleep;
    calm_asleep = false;
    pthread_mutex_unlock(&lock);
    if (wake) {
        spice_qxl_wakeup(&peaceful);
    }
}

static const SpiceKbdInterface painting_keyboard = {
    .base = { .type = SPICE_INTERFACE_KEYBOARD, .description = "paints", .major_version = SPICE_INTERFACE_KEYBOARD_MAJOR,
              .minor_version = SPICE_INTERFACE_KEYBOARD_MINOR },
    .push_scan_freg = paint, .get_leds = get_leds,
};

static void ignore_motion(SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t state) { (void)sin, (void)dx, (void)dy, (void)dz, (void)state; }
static void ignore_buttons(SpiceMouseInstance *sin, uint32_t state) { (void)sin, (void)state; }

static const SpiceMouseInterface silent_mouse = {
    .base = { .type = SPICE_INTERFACE_MOUSE, .description = "silent", .major_version = SPICE_INTERFACE_MOUSE_MAJOR,
              .minor_version = SPICE_INTERFACE_MOUSE_MINOR },
    .motion = ignore_motion, .buttons = ignore_buttons,
};

static void *serve(void *arg)
{
    for (;;) {
        run_once();
    }
    return arg;
}

static void quiet(int event, SpiceChannelEventInfo *info) { (void)event, (void)info; }

int main(int argc, char **argv)
{
    static SpiceKbdInstance painter = { .base.sif = &painting_keyboard.base };
    static SpiceMouseInstance pointer = { .base.sif = &silent_mouse.base };
    pthread_t thread;

    if (argc < 4) {
        fprintf(stderr, "usage: %s PORT SECONDS ATTACK[:N[:M]]...\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    core.channel_event = quiet;
    SpiceServer *server = spice_server_new();
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    spice_server_set_port(server, atoi(argv[1]));
    spice_server_set_noauth(server);
    spice_server_set_streaming_video(server, SPICE_STREAM_VIDEO_FILTER);
    if (spice_server_init(server, &core) || spice_server_add_interface(server, &painter.base) ||
        spice_server_add_interface(server, &pointer.base) || spice_server_add_interface(server, &hostile.base) ||
        spice_server_add_interface(server, &peaceful.base)) {
        return 1;
    }
    primary(&peaceful, 64, 64, screen);
    spice_server_vm_start(server);
    pthread_create(&thread, NULL, serve, NULL);
    puts("serving");
    getchar(); /* whoever watches is ready */

    int64_t end = now_ms() + atoi(argv[2]) * 1000LL;
    do {
        for (int i = 3; i < argc; i++) {
            run(server, argv[i]);
        }
    } while (now_ms() < end);
    puts("done");
    while (getchar() != EOF) {
        struct mallinfo2 heap = mallinfo2();
        printf("heap=%zu KiB\n", (heap.uordblks + heap.hblkhd) / 1024);
    }
    fflush(stdout);
    _exit(0);
}
