/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_READ_H
#define MODEL_READ_H

#include "codec/json.h"

/*
 * The member schema_version, as the getters of codec/json.h: missing means 1; -EOPNOTSUPP when it
 * is newer than ours.
 *
 * The place for migrations: this is read before all else of a file, so what an older version wrote
 * in another way is put right here, in at->value, and *ret becomes MVM_SCHEMA_VERSION, which the
 * file gets when it is written next.  1 is the first version, so there is nothing to migrate yet.
 */
int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err);

#endif
