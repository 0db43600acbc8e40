/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_READ_H
#define MODEL_READ_H

#include "codec/json.h"

/*
 * Get the member schema_version, as the getters of codec/json.h do.  Missing means 1; -EOPNOTSUPP
 * when it is newer than ours.
 *
 * Migrations belong here.  This member is read before all others of a file.  A migration converts
 * an older version's members in at->value and sets *ret to MVM_SCHEMA_VERSION, which the file gets
 * at its next write.  1 is the first version, so there is nothing to migrate yet.
 */
int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err);

#endif
