/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_READ_H
#define MODEL_READ_H

#include "codec/json.h"

/* The member schema_version, as the getters of codec/json.h: missing means 1; -EOPNOTSUPP when it
 * is newer than ours. */
int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err);

#endif
