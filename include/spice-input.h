/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_INPUT_H_
#define SPICE_INPUT_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"

SPICE_BEGIN_DECLS

typedef struct SpiceKbdInterface SpiceKbdInterface;
typedef struct SpiceKbdInstance SpiceKbdInstance;
typedef struct SpiceKbdState SpiceKbdState;

typedef struct SpiceMouseInterface SpiceMouseInterface;
typedef struct SpiceMouseInstance SpiceMouseInstance;
typedef struct SpiceMouseState SpiceMouseState;

typedef struct SpiceTabletInterface SpiceTabletInterface;
typedef struct SpiceTabletInstance SpiceTabletInstance;
typedef struct SpiceTabletState SpiceTabletState;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_KEYBOARD "keyboard"
#define SPICE_INTERFACE_MOUSE "mouse"
#define SPICE_INTERFACE_TABLET "tablet"

#define SPICE_INTERFACE_KEYBOARD_MAJOR 1

#define SPICE_INTERFACE_KEYBOARD_MINOR 1

#define SPICE_INTERFACE_MOUSE_MAJOR 1

#define SPICE_INTERFACE_MOUSE_MINOR 1

#define SPICE_INTERFACE_TABLET_MAJOR 1

#define SPICE_INTERFACE_TABLET_MINOR 1

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceKbdInstance {
  SpiceBaseInstance base;
  SpiceKbdState *st;
};

/* A keyboard of the host. */
struct SpiceKbdInterface {
  SpiceBaseInterface base;
  /* Takes one byte of a PC scan code sequence (set 1). */
  void (*push_scan_freg)(struct SpiceKbdInstance *sin, uint8_t frag);
  /* Lock lights: bit 0 scroll, 1 num, 2 caps. */
  uint8_t (*get_leds)(struct SpiceKbdInstance *sin);
};

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceMouseInstance {
  SpiceBaseInstance base;
  SpiceMouseState *st;
};

/* A relative pointer of the host. Button bits: 0 left, 1 right, 2 middle, 6 side, 7 extra. */
struct SpiceMouseInterface {
  SpiceBaseInterface base;
  /* Moves by dx, dy and turns the wheel by dz (-1 up, 1 down). */
  void (*motion)(struct SpiceMouseInstance *sin, int dx, int dy, int dz, uint32_t buttons_state);
  /* New state of all buttons. */
  void (*buttons)(struct SpiceMouseInstance *sin, uint32_t buttons_state);
};

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceTabletInstance {
  SpiceBaseInstance base;
  SpiceTabletState *st;
};

/* An absolute pointer of the host; buttons as for the mouse. */
struct SpiceTabletInterface {
  SpiceBaseInterface base;
  /* Range of the positions that follow (pixels). */
  void (*set_logical_size)(struct SpiceTabletInstance *tablet, int width, int height);
  /* Pointer position (pixels) and buttons. */
  void (*position)(struct SpiceTabletInstance *tablet, int x, int y, uint32_t buttons_state);
  /* Turns the wheel (-1 up, 1 down). */
  void (*wheel)(struct SpiceTabletInstance *tablet, int wheel_moution, uint32_t buttons_state);
  /* New state of all buttons. */
  void (*buttons)(struct SpiceTabletInstance *tablet, uint32_t buttons_state);
};

/* The lock lights of the guest's keyboard changed: bit 0 scroll, 1 num, 2 caps. Returns 0, -1 if sin is not attached. */
int spice_server_kbd_leds(struct SpiceKbdInstance *sin,
                          int leds);

SPICE_END_DECLS

#endif /* SPICE_INPUT_H_ */
