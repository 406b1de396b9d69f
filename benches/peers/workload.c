/*
 * workload: one seeded X11 program that draws the same frames on any X server.
 *
 *   workload --scene NAME --seconds N --seed S --log FILE
 *
 * Scenes: terminal window web video typing idle. Frames have a fixed schedule (frame k at t0 + k*dt). None is ever
 * skipped, so every server gets the same work, and a server that blocks its clients makes frames late. Every frame ends with
 * a 16x16 block of one colour in the bottom right corner (its colour is the frame's number) and an XSync. FILE gets 24 bytes a
 * frame: number (u64), ns before its drawing, ns when XSync had returned (CLOCK_MONOTONIC).
 *
 * It draws its opening picture, prints "ready", waits for a line on stdin, draws the frames, prints "done FRAMES SECONDS",
 * and ends when stdin closes. 1024x768, depth 24.
 *
 * "workload --dump video|web|terminal --seed S --log FILE" writes pixels for the QEMU guest frames.S instead (32 bits each) and needs no X.
 *
 *   cc -O2 -o workload workload.c -lX11 -lm
 */
#define _GNU_SOURCE
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { W = 1024, H = 768, BX = 1000, BY = 744, BS = 16, AREA_H = 704 };
static Display *dpy;
static Window win;
static GC gc;
static XFontStruct *font;

static uint64_t rng_state;
static uint32_t rnd(void) /* xorshift64* */
{
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return (uint32_t)((rng_state * 0x2545F4914F6CDD1Dull) >> 32);
}
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static uint8_t clamp(double v) { return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v; }

/* the colour that says "frame k": the high nibbles carry the number, the low ones are a mark */
static unsigned long block_colour(unsigned k) { return ((k >> 8 & 15) << 20 | (k >> 4 & 15) << 12 | (k & 15) << 4) | 0x080808; }

/* ------------------------------------------------------------------ pictures */
static XImage *image(int w, int h)
{
    char *data = malloc((size_t)w * h * 4);
    if (!dpy) { /* --dump */
        XImage *i = calloc(1, sizeof *i);
        i->data = data;
        i->bytes_per_line = w * 4;
        return i;
    }
    XImage *i = XCreateImage(dpy, DefaultVisual(dpy, 0), 24, ZPixmap, 0, data, w, h, 32, w * 4);
    if (!i || i->bits_per_pixel != 32) { fprintf(stderr, "workload: no 32-bit ZPixmap\n"); exit(1); }
    return i;
}
static uint32_t *row(XImage *i, int y) { return (uint32_t *)(i->data + (size_t)y * i->bytes_per_line); }

/* A picture like a photograph: smooth light, some objects with edges, sensor noise of a few steps. t moves the camera. */
struct scene { double cx[12], cy[12], r[12], c[12][3], fx, fy, ph; };
static struct scene make_scene(void)
{
    struct scene s;
    for (int n = 0; n < 12; n++) {
        s.cx[n] = rnd() % 1000 / 1000.0;
        s.cy[n] = rnd() % 1000 / 1000.0;
        s.r[n] = 0.04 + rnd() % 1000 / 8000.0;
        for (int c = 0; c < 3; c++) s.c[n][c] = 30 + rnd() % 200;
    }
    s.fx = 2 + rnd() % 100 / 25.0;
    s.fy = 2 + rnd() % 100 / 25.0;
    s.ph = rnd() % 628 / 100.0;
    return s;
}
static void photo(XImage *img, int x0, int y0, int w, int h, const struct scene *s, double t)
{
    for (int y = 0; y < h; y++) {
        uint32_t *p = row(img, y0 + y) + x0;
        double v = (double)y / h, sv = 60 * sin(s->fy * v + s->ph + t);
        for (int x = 0; x < w; x++) {
            double u = (double)x / w, k = 60 * sin(s->fx * u + s->ph - 0.7 * t);
            double r = 120 + k + sv, g = 120 + sv + 20 * u, b = 110 - k + 50 * v;
            for (int n = 0; n < 12; n++) {
                double dx = u - s->cx[n] - 0.1 * sin(t + n), dy = (v - s->cy[n]) * 0.6;
                double q = dx * dx + dy * dy, rr = s->r[n] * s->r[n];
                if (q < rr) {
                    double shade = 1 - 0.6 * q / rr;
                    r = s->c[n][0] * shade;
                    g = s->c[n][1] * shade;
                    b = s->c[n][2] * shade;
                }
            }
            uint32_t z = rnd();
            int noise = (int)(z & 7) - 3;
            p[x] = clamp(r + noise) << 16 | clamp(g + noise) << 8 | clamp(b + noise);
        }
    }
}
static void fill(XImage *img, int x, int y, int w, int h, uint32_t c)
{
    for (int j = 0; j < h; j++) {
        uint32_t *p = row(img, y + j) + x;
        for (int i = 0; i < w; i++) p[i] = c;
    }
}
/* A line of text as grey antialiased strokes: what a browser's glyphs look like to a codec. */
static void text_line(XImage *img, int x, int y, int w, uint32_t ink)
{
    uint8_t glyph[26][9][6];
    uint64_t keep = rng_state;
    rng_state = 77; /* the same alphabet on every line */
    for (int g = 0; g < 26; g++)
        for (int j = 0; j < 9; j++)
            for (int i = 0; i < 6; i++) glyph[g][j][i] = rnd() % 3 ? 0 : 80 + rnd() % 176;
    rng_state = keep;
    for (int cx = x; cx + 7 < x + w; cx += 7) {
        if (rnd() % 6 == 0) continue; /* space */
        int g = rnd() % 26;
        for (int j = 0; j < 9; j++)
            for (int i = 0; i < 6; i++) {
                uint32_t *p = row(img, y + j) + cx + i, o = 0;
                for (int c = 0; c < 24; c += 8) o |= ((*p >> c & 255) * (255 - glyph[g][j][i]) + (ink >> c & 255) * glyph[g][j][i]) / 255 << c;
                *p = o;
            }
    }
}

/* ------------------------------------------------------------------ scenes */
static const unsigned long ink[8] = { 0xd0d0d0, 0x66ff66, 0xffff66, 0x6699ff, 0xff66ff, 0x66ffff, 0xff6666, 0xffffff };
static int fw, fh; /* of a glyph */

static void term_line(int y)
{
    char s[200];
    int cols = (W - 8) / fw;
    for (int x = 0; x < cols;) {
        int n = 1 + rnd() % 14;
        if (n > cols - x) n = cols - x;
        for (int i = 0; i < n; i++) s[i] = rnd() % 6 ? 33 + rnd() % 94 : ' ';
        XSetForeground(dpy, gc, ink[rnd() % 8]);
        XDrawString(dpy, win, gc, 4 + x * fw, y + font->ascent, s, n);
        x += n;
        if (rnd() % 40 == 0) break;
    }
}
static void terminal_open(void)
{
    XSetForeground(dpy, gc, 0x101418);
    XFillRectangle(dpy, win, gc, 0, 0, W, AREA_H);
    for (int y = 0; y + fh <= AREA_H; y += fh) term_line(y);
}
static void terminal_frame(int k)
{
    (void)k;
    int lines = AREA_H / fh, n = 1 + rnd() % 3;
    XCopyArea(dpy, win, win, gc, 0, n * fh, W, (lines - n) * fh, 0, 0);
    XSetForeground(dpy, gc, 0x101418);
    XFillRectangle(dpy, win, gc, 0, (lines - n) * fh, W, n * fh);
    for (int i = 0; i < n; i++) term_line((lines - n + i) * fh);
}

static Window moving, still[2];
static Pixmap pixmap_of(XImage *i)
{
    Pixmap p = XCreatePixmap(dpy, win, i->width, i->height, 24);
    XPutImage(dpy, p, gc, i, 0, 0, 0, 0, i->width, i->height);
    return p;
}
static void window_open(void)
{
    XSetForeground(dpy, gc, 0x204060);
    XFillRectangle(dpy, win, gc, 0, 0, W, AREA_H);
    for (int n = 0; n < 3; n++) {
        int w = n < 2 ? 420 : 400, h = 300;
        XImage *i = image(w, h);
        fill(i, 0, 0, w, h, 0xf4f4f0);
        fill(i, 0, 0, w, 22, n == 2 ? 0x3060c0 : 0x808890);
        text_line(i, 8, 6, 200, 0xffffff);
        for (int y = 34; y + 12 < h; y += 15) text_line(i, 10, y, w - (n == 1 ? 20 : 200), 0x202020);
        struct scene s = make_scene();
        if (n != 1) photo(i, w - 180, 40, 170, 120, &s, 0);
        XSetWindowAttributes a = { .background_pixmap = pixmap_of(i), .override_redirect = True };
        Window c = XCreateWindow(dpy, win, n == 0 ? 60 : n == 1 ? 560 : 300, n == 0 ? 60 : n == 1 ? 330 : 200, w, h, 0, 24, InputOutput,
                                 CopyFromParent, CWBackPixmap | CWOverrideRedirect, &a);
        if (n < 2) still[n] = c; else moving = c;
        XMapRaised(dpy, c);
        XDestroyImage(i);
    }
}
static void window_frame(int k)
{
    static double x = 300, y = 200, dx = 9, dy = 5;
    if (k % 40 == 39) { dx = (int)(rnd() % 25) - 12; dy = (int)(rnd() % 19) - 9; }
    x += dx;
    y += dy;
    if (x < 0 || x > W - 400) { dx = -dx; x += 2 * dx; }
    if (y < 0 || y > AREA_H - 300) { dy = -dy; y += 2 * dy; }
    XMoveWindow(dpy, moving, (int)x, (int)y);
}

enum { PAGE_W = 960, PAGE_H = 6000, VIEW_H = 680 };
static XImage *page;
static int page_y, page_dir = 1;
static void make_page(void)
{
    page = image(PAGE_W, PAGE_H);
    fill(page, 0, 0, PAGE_W, PAGE_H, 0xffffff);
    for (int y = 10; y < PAGE_H - 300;) {
        uint32_t k = rnd() % 4;
        if (k == 0) { /* two photographs side by side */
            int h = 160 + rnd() % 100;
            struct scene a = make_scene(), b = make_scene();
            photo(page, 20, y, 440, h, &a, 0);
            photo(page, 490, y, 440, h, &b, 0);
            y += h + 14;
        } else if (k == 1) { /* a photograph with text beside it */
            struct scene a = make_scene();
            photo(page, 20, y, 300, 200, &a, 0);
            for (int j = 0; j < 200; j += 16) text_line(page, 340, y + j, 580, 0x222222);
            y += 214;
        } else if (k == 2) { /* heading in a coloured bar */
            fill(page, 0, y, PAGE_W, 34, 0xe8eef8);
            text_line(page, 20, y + 12, 300, 0x1040a0);
            y += 44;
        } else {
            for (int j = 4 + rnd() % 8; j; j--, y += 16) text_line(page, 20, y, 700 + rnd() % 200, 0x222222);
            y += 12;
        }
    }
}
static void web_open(void)
{
    make_page();
    XSetForeground(dpy, gc, 0xc8ccd0);
    XFillRectangle(dpy, win, gc, 0, 0, W, AREA_H);
    XPutImage(dpy, win, gc, page, 0, 0, 16, 8, PAGE_W, VIEW_H);
}
static void web_frame(int k)
{
    int step = 20 + rnd() % 40;
    if (k % 50 > 40) return; /* the reader reads: the counter alone */
    if (page_y + page_dir * step < 0 || page_y + page_dir * step > PAGE_H - VIEW_H - 300) page_dir = -page_dir;
    if (page_dir > 0) {
        page_y += step;
        XCopyArea(dpy, win, win, gc, 16, 8 + step, PAGE_W, VIEW_H - step, 16, 8);
        XPutImage(dpy, win, gc, page, 0, page_y + VIEW_H - step, 16, 8 + VIEW_H - step, PAGE_W, step);
    } else {
        page_y -= step;
        XCopyArea(dpy, win, win, gc, 16, 8, PAGE_W, VIEW_H - step, 16, 8 + step);
        XPutImage(dpy, win, gc, page, 0, page_y, 16, 8, PAGE_W, step);
    }
}

enum { VW = 640, VH = 360, VN = 50 };
static XImage *film[VN];
static void video_open(void)
{
    struct scene s = make_scene();
    for (int n = 0; n < VN; n++) {
        film[n] = image(VW, VH);
        photo(film[n], 0, 0, VW, VH, &s, 2 * M_PI * n / VN);
    }
    XSetForeground(dpy, gc, 0x303438);
    XFillRectangle(dpy, win, gc, 0, 0, W, AREA_H);
}
static void video_frame(int k) { XPutImage(dpy, win, gc, film[k % VN], 0, 0, 192, 160, VW, VH); }

static void typing_open(void)
{
    XSetForeground(dpy, gc, 0xfcfcfc);
    XFillRectangle(dpy, win, gc, 0, 0, W, AREA_H);
    XSetForeground(dpy, gc, 0x202020);
    for (int y = 300; y + fh < AREA_H; y += fh + 2) {
        char s[120];
        for (int i = 0; i < 100; i++) s[i] = rnd() % 6 ? 'a' + rnd() % 26 : ' ';
        XDrawString(dpy, win, gc, 20, y + font->ascent, s, 100);
    }
}
static void typing_frame(int k)
{
    char c = 'a' + rnd() % 26;
    int cols = 100;
    XSetForeground(dpy, gc, 0x202020);
    XDrawString(dpy, win, gc, 20 + k % cols * fw, 20 + k / cols * (fh + 2) + font->ascent, &c, 1);
}
static void idle_open(void) { typing_open(); }
static void idle_frame(int k) { (void)k; }

static const struct { const char *name; int fps; void (*open)(void), (*frame)(int); } scenes[] = {
    { "terminal", 20, terminal_open, terminal_frame }, { "window", 25, window_open, window_frame }, { "web", 25, web_open, web_frame },
    { "video", 25, video_open, video_frame },          { "typing", 8, typing_open, typing_frame },  { "idle", 1, idle_open, idle_frame },
};

static int dump(const char *what, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) return 1;
    if (!strcmp(what, "video")) {
        struct scene s = make_scene();
        XImage *i = image(VW, VH);
        for (int n = 0; n < 25; n++) {
            photo(i, 0, 0, VW, VH, &s, 2 * M_PI * n / 25);
            fwrite(i->data, 4, VW * VH, f);
        }
    } else {
        if (!strcmp(what, "web")) make_page();
        else {
            page = image(PAGE_W, PAGE_H);
            fill(page, 0, 0, PAGE_W, PAGE_H, 0x101418);
            for (int y = 2; y + 12 < PAGE_H; y += 16)
                for (int x = 4; x < PAGE_W - 120;) {
                    int w = 14 + rnd() % 100;
                    text_line(page, x, y, w, ink[rnd() % 8]);
                    x += w;
                    if (rnd() % 30 == 0) break;
                }
        }
        fwrite(page->data, 4, PAGE_W * PAGE_H, f);
    }
    return fclose(f) != 0;
}

static void block(unsigned k)
{
    XSetForeground(dpy, gc, block_colour(k));
    XFillRectangle(dpy, win, gc, BX, BY, BS, BS);
}

int main(int argc, char **argv)
{
    static const struct option opts[] = { { "scene", 1, 0, 's' }, { "seconds", 1, 0, 'n' }, { "seed", 1, 0, 'r' }, { "log", 1, 0, 'l' },
        { "dump", 1, 0, 'd' }, { 0 } };
    const char *scene = "", *what = NULL, *log = "/dev/null";
    double seconds = 5;
    uint64_t seed = 1;
    for (int o; (o = getopt_long(argc, argv, "", opts, NULL)) != -1;) {
        switch (o) {
        case 's': scene = optarg; break;
        case 'n': seconds = atof(optarg); break;
        case 'r': seed = strtoull(optarg, 0, 0); break;
        case 'l': log = optarg; break;
        case 'd': what = optarg; break;
        default: return 2;
        }
    }
    rng_state = seed * 0x9E3779B97F4A7C15ull + 1;
    if (what) return dump(what, log);
    int sc = -1;
    for (unsigned i = 0; i < sizeof scenes / sizeof *scenes; i++) if (!strcmp(scenes[i].name, scene)) sc = i;
    if (sc < 0 || !(dpy = XOpenDisplay(NULL))) { fprintf(stderr, "workload: no such scene, or no display\n"); return 1; }
    if (DisplayWidth(dpy, 0) != W || DisplayHeight(dpy, 0) != H || DefaultDepth(dpy, 0) != 24) { fprintf(stderr, "workload: screen is %dx%d\n", DisplayWidth(dpy, 0), DisplayHeight(dpy, 0)); return 1; }
    XSetWindowAttributes a = { .background_pixel = 0x203040, .override_redirect = True, .event_mask = 0 };
    /* a blank pointer that rests where nothing is drawn */
    static char none[1];
    Pixmap bit = XCreateBitmapFromData(dpy, DefaultRootWindow(dpy), none, 1, 1);
    XColor black = { 0 };
    a.cursor = XCreatePixmapCursor(dpy, bit, bit, &black, &black, 0, 0);
    win = XCreateWindow(dpy, DefaultRootWindow(dpy), 0, 0, W, H, 0, 24, InputOutput, CopyFromParent, CWBackPixel | CWOverrideRedirect | CWEventMask | CWCursor, &a);
    XGCValues v = { .graphics_exposures = False };
    gc = XCreateGC(dpy, win, GCGraphicsExposures, &v);
    if (!(font = XLoadQueryFont(dpy, "-misc-fixed-medium-r-semicondensed--13-120-75-75-c-60-iso8859-1")) && !(font = XLoadQueryFont(dpy, "fixed"))) {
        fprintf(stderr, "workload: no font\n");
        return 1;
    }
    XSetFont(dpy, gc, font->fid);
    fw = font->max_bounds.width;
    fh = font->ascent + font->descent;
    XMapRaised(dpy, win);
    XWarpPointer(dpy, None, DefaultRootWindow(dpy), 0, 0, 0, 0, W - 2, AREA_H + 8);
    XSync(dpy, False);
    scenes[sc].open();
    block(0);
    XSync(dpy, False);
    int frames = (int)(seconds * scenes[sc].fps + 0.5), wide = fw;
    uint64_t *stamps = malloc(frames * 24 + 24);
    printf("ready %d frames, font %dx%d\n", frames, wide, fh);
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 1;
    uint64_t t0 = now_ns() + 20000000, dt = 1000000000ull / scenes[sc].fps;
    for (int k = 1; k <= frames; k++) {
        uint64_t due = t0 + (k - 1) * dt;
        struct timespec ts = { due / 1000000000ull, due % 1000000000ull };
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL)) { }
        stamps[3 * k - 3] = k;
        stamps[3 * k - 2] = now_ns();
        scenes[sc].frame(k);
        block(k);
        XSync(dpy, False);
        stamps[3 * k - 1] = now_ns();
    }
    double took = (now_ns() - t0) / 1e9;
    FILE *f = fopen(log, "wb");
    if (!f || fwrite(stamps, 24, frames, f) != (size_t)frames || fclose(f)) { perror("workload: log"); return 1; }
    printf("done %d %.4f\n", frames, took);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) { }
    return 0;
}
