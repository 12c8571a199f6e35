/* reason.h -- reason codes in words. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_MQTT_REASON_H
#define SOL_MQTT_REASON_H

#include <stdint.h>

/* "not authorized"; "unknown" for a code the standard does not have.  Static. */
const char *reason_text(uint8_t reason_code);

#endif
