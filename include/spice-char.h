/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_CHAR_H_
#define SPICE_CHAR_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include "spice-core.h"

SPICE_BEGIN_DECLS

typedef struct SpiceCharDeviceInterface SpiceCharDeviceInterface;
typedef struct SpiceCharDeviceInstance SpiceCharDeviceInstance;
typedef struct SpiceCharDeviceState SpiceCharDeviceState;

typedef enum {
    /* The host calls spice_server_char_device_wakeup() when the device can take more. */
    SPICE_CHAR_DEVICE_NOTIFY_WRITABLE = 1 << 0,
} spice_char_device_flags;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_CHAR_DEVICE "char_device"

#define SPICE_INTERFACE_CHAR_DEVICE_MAJOR 1

#define SPICE_INTERFACE_CHAR_DEVICE_MINOR 3

/* Filled by the host but for st, which the library sets while the instance is attached. */
struct SpiceCharDeviceInstance {
  SpiceBaseInstance base;
  /* One of spice_server_char_device_recognized_subtypes(), or "port". */
  const char *subtype;
  SpiceCharDeviceState *st;
  /* Name of a port, for subtype "port". */
  const char *portname;
};

/* A byte stream of the guest. No callback may block. A callback may call back into the library, also for the same
 * instance. */
struct SpiceCharDeviceInterface {
  SpiceBaseInterface base;
  /* 1: the library uses the device; 0: it stopped doing so, for instance after bad data from the guest. */
  void (*state)(struct SpiceCharDeviceInstance *sin, int connected);
  /* Takes up to len bytes for the guest; returns how many it took, which may be 0. Negative means 0. */
  int (*write)(struct SpiceCharDeviceInstance *sin, const uint8_t *buf, int len);
  /* Gives up to len bytes of the guest; returns how many, 0 when there are none. Negative means 0. */
  int (*read)(struct SpiceCharDeviceInstance *sin, uint8_t *buf, int len);
  /* Event of a port channel's client (SPICE_PORT_EVENT_*); used with minor version 2 or more. */
  void (*event)(struct SpiceCharDeviceInstance *sin, uint8_t event);
  /* SPICE_CHAR_DEVICE_* bits; read with minor version 3 or more. */
  spice_char_device_flags flags;
};

/* The device has data to read or can take some again. */
void spice_server_char_device_wakeup(struct SpiceCharDeviceInstance *sin);

/* An event (SPICE_PORT_EVENT_*) of the guest for the client of a port. */
void spice_server_port_event(struct SpiceCharDeviceInstance *sin, uint8_t event);

/* The subtypes of character devices, NULL-terminated; never freed. Ports (subtype "port") are not in the list. */
const char **spice_server_char_device_recognized_subtypes(void);

SPICE_END_DECLS

#endif /* SPICE_CHAR_H_ */
