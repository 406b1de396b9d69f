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
