#include "spice-core.h"

SPICE_BEGIN_DECLS

/* Bytes of the capabilities given to set_client_capabilities. */
#ifndef SPICE_CAPABILITIES_SIZE
#define SPICE_CAPABILITIES_SIZE (sizeof(((QXLRom*)0)->client_capabilities))
#endif

typedef struct QXLInterface QXLInterface;
typedef struct QXLInstance QXLInstance;
typedef struct QXLState QXLState;
typedef struct QXLWorker QXLWorker;
typedef struct QXLDevMemSlot QXLDevMemSlot;
typedef struct QXLDevSurfaceCreate QXLDevSurfaceCreate;
typedef struct QXLDevInitInfo QXLDevInitInfo;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_QXL "qxl"
