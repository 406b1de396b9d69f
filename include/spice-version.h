#ifndef SPICE_VERSION_H_
#define SPICE_VERSION_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

/* 0.16.0 */
#define SPICE_SERVER_VERSION 0x001000

#endif /* SPICE_VERSION_H_ */
