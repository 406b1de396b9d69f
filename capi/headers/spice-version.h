#ifndef SPICE_VERSION_H_
#define SPICE_VERSION_H_

#if !defined(SPICE_H_INSIDE) && !defined(SPICE_SERVER_INTERNAL)
#error "Only spice.h can be included directly."
#endif

/* 0.15.2 */
#define SPICE_SERVER_VERSION 0x000f02

#endif /* SPICE_VERSION_H_ */
