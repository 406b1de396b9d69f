/* Generated from capi/src by scripts/headers: do not edit. */
#ifndef SPICE_CORE_H_
#define SPICE_CORE_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

#include <stdint.h>
#include <sys/socket.h>
#include <spice/qxl_dev.h>
#include <spice/vd_agent.h>
#include <spice/macros.h>

#ifdef SPICE_SERVER_INTERNAL
#undef SPICE_GNUC_DEPRECATED
#define SPICE_GNUC_DEPRECATED
#endif

SPICE_BEGIN_DECLS

typedef struct SpiceBaseInterface SpiceBaseInterface;
typedef struct SpiceBaseInstance SpiceBaseInstance;
typedef struct SpiceCoreInterface SpiceCoreInterface;
typedef struct SpiceChannelEventInfo SpiceChannelEventInfo;

/* A watch of the host's main loop; its callback gets the descriptor and SPICE_WATCH_EVENT_* bits. */
typedef struct SpiceWatch SpiceWatch;
typedef void (*SpiceWatchFunc)(int fd, int event, void *opaque);

/* A timer of the host's main loop. */
typedef struct SpiceTimer SpiceTimer;
typedef void (*SpiceTimerFunc)(void *opaque);

/* Type strings of interfaces. */
#define SPICE_INTERFACE_CORE "core"

#define SPICE_INTERFACE_CORE_MAJOR 1

#define SPICE_INTERFACE_CORE_MINOR 3

/* The descriptor can be read. */
#define SPICE_WATCH_EVENT_READ 1

/* The descriptor can be written. */
#define SPICE_WATCH_EVENT_WRITE 2

/* A socket was accepted or handed in; nothing has been read from it. */
#define SPICE_CHANNEL_EVENT_CONNECTED 1

/* The client authenticated: connection, type and id are known. */
#define SPICE_CHANNEL_EVENT_INITIALIZED 2

/* The socket is gone; the info structure is freed after this call. */
#define SPICE_CHANNEL_EVENT_DISCONNECTED 3

/* The connection is encrypted. */
#define SPICE_CHANNEL_EVENT_FLAG_TLS 1

/* The `*_ext` addresses are valid. */
#define SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT 2

/* Start of every interface: what it is and which version of it the host implements. */
struct SpiceBaseInterface {
  /* One of the SPICE_INTERFACE_* strings. */
  const char *type;
  /* For people; not interpreted. */
  const char *description;
  uint32_t major_version;
  uint32_t minor_version;
};

/* Start of every instance. */
struct SpiceBaseInstance {
  const struct SpiceBaseInterface *sif;
};

/* A client's connection. The same pointer is passed for all events of one socket and stays readable at its address
 * until the callback for SPICE_CHANNEL_EVENT_DISCONNECTED has returned. */
struct SpiceChannelEventInfo {
  /* Session id (all 32 bits are used); 0 before SPICE_CHANNEL_EVENT_INITIALIZED. */
  int connection_id;
  /* Channel type (SPICE_CHANNEL_*). */
  int type;
  /* Number of the channel within its type. */
  int id;
  /* SPICE_CHANNEL_EVENT_FLAG_* bits. */
  int flags;
  /* Truncated, kept for old hosts: use laddr_ext. */
  struct sockaddr laddr SPICE_GNUC_DEPRECATED;
  /* Truncated, kept for old hosts: use paddr_ext. */
  struct sockaddr paddr SPICE_GNUC_DEPRECATED;
  socklen_t llen SPICE_GNUC_DEPRECATED;
  socklen_t plen SPICE_GNUC_DEPRECATED;
  /* Local address; valid with SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT. */
  struct sockaddr_storage laddr_ext;
  /* Address of the client; valid with SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT. */
  struct sockaddr_storage paddr_ext;
  socklen_t llen_ext;
  socklen_t plen_ext;
};

/* The host's main loop. All but channel_event are mandatory. The library calls them on host threads only, and a
 * callback that was removed must not run any more. */
struct SpiceCoreInterface {
  struct SpiceBaseInterface base;
  /* Makes a one-shot timer that is not running; NULL when it cannot. */
  SpiceTimer *(*timer_add)(SpiceTimerFunc func, void *opaque);
  /* Runs the timer once, in ms milliseconds; a running timer starts again. */
  void (*timer_start)(SpiceTimer *timer, uint32_t ms);
  /* Stops the timer if it runs. */
  void (*timer_cancel)(SpiceTimer *timer);
  /* Stops and frees the timer; may be called from the timer's own callback. */
  void (*timer_remove)(SpiceTimer *timer);
  /* Watches a descriptor for SPICE_WATCH_EVENT_* bits; NULL when it cannot. */
  SpiceWatch *(*watch_add)(int fd, int event_mask, SpiceWatchFunc func, void *opaque);
  /* Replaces the bits that the watch waits for. */
  void (*watch_update_mask)(SpiceWatch *watch, int event_mask);
  /* Frees the watch; may be called from the watch's own callback. */
  void (*watch_remove)(SpiceWatch *watch);
  /* Tells about a client's connection (SPICE_CHANNEL_EVENT_*); used with minor version 3 or more. May be NULL. */
  void (*channel_event)(int event, struct SpiceChannelEventInfo *info);
};

SPICE_END_DECLS

#endif /* SPICE_CORE_H_ */
