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
