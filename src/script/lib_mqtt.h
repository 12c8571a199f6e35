/* lib_mqtt.h -- packets as a client of another broker needs them. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_SCRIPT_LIB_MQTT_H
#define SOL_SCRIPT_LIB_MQTT_H

#include <lua.h>

/* Adds mqtt_properties, mqtt_connect, mqtt_publish, mqtt_decode, farewell, worker_number and
 * is_retired to the table on top. [-0, +0, m] */
void lib_mqtt_add(lua_State *L);

#endif
