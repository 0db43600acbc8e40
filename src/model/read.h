/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_READ_H
#define MODEL_READ_H

/* Members that several of the model's JSON objects have.  As the getters of codec/json.h. */

#include "codec/json.h"
#include "model/name.h"

int read_u8(const struct json_at *at, const char *key, uint8_t *ret, struct mvm_error *err);
int read_u32(const struct json_at *at, const char *key, uint32_t *ret, struct mvm_error *err);
int read_size(const struct json_at *at, const char *key, enum json_presence presence, uint64_t *ret,
	      struct mvm_error *err);
int read_name(const struct json_at *at, const char *key, enum name_kind kind, char **ret,
	      struct mvm_error *err);

/* schema_version: missing means 1; -EOPNOTSUPP when it is newer than ours. */
int read_schema_version(const struct json_at *at, uint32_t *ret, struct mvm_error *err);

#endif
