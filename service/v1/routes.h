/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_ROUTES_H
#define SERVICE_V1_ROUTES_H

/* The tables of our own API, /v1 (route.h). */

#include "route.h"

extern const struct route v1_root_routes[];
extern const struct route v1_exec_routes[];
extern const struct route v1_exec_input_routes[];
extern const struct route v1_files_routes[];
extern const struct route v1_files_data_routes[];
extern const struct route v1_files_watch_routes[];
extern const struct route v1_instances_routes[];
extern const struct route v1_logs_routes[];
extern const struct route v1_operations_routes[];
extern const struct route v1_templates_routes[];
extern const struct route v1_host_routes[];
extern const struct route v1_ports_routes[];
extern const struct route v1_port_by_host; /* in no table: request.c goes by the host name */

#endif
