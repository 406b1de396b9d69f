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
