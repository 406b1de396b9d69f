#include "spice-core.h"
#include "spice-server.h"

SPICE_BEGIN_DECLS

typedef struct SpiceMigrateInterface SpiceMigrateInterface;
typedef struct SpiceMigrateInstance SpiceMigrateInstance;
typedef struct SpiceMigrateState SpiceMigrateState;

/* Type strings of interfaces. */
#define SPICE_INTERFACE_MIGRATION "migration"
