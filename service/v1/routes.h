/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_ROUTES_H
#define SERVICE_V1_ROUTES_H

/* The tables of our own API, /v1 (route.h). */

#include "route.h"

extern const struct route v1_root_routes[];
extern const struct route v1_instances_routes[];
extern const struct route v1_operations_routes[];
extern const struct route v1_templates_routes[];
extern const struct route v1_host_routes[];

#endif
