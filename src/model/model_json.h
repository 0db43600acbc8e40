/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_MODEL_JSON_H
#define MODEL_MODEL_JSON_H

/*
 * The model's objects as JSON values, for files and for output that contains them.
 *
 * <what>_read reads the object at a place; ret must be empty and may be half-filled on failure.
 * <what>_json makes an object; out remembers failures.
 */

#include "model/template.h"

#include "base/own.h"
#include "codec/json.h"
#include "model/fields.h"

DEFINE_AUTO_DONE(mvm_run, mvm_run_done)
DEFINE_AUTO_DONE(mvm_template_config, config_done)
DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)
DEFINE_AUTO_DONE(mvm_template_revision, mvm_template_revision_done)
DEFINE_AUTO_DONE(mvm_snapshot_info, mvm_snapshot_info_done)
DEFINE_AUTO_DONE(mvm_template_kind, mvm_template_kind_done)

int run_read(const struct json_at *at, struct mvm_run *ret, struct mvm_error *err);
json_t *run_json(struct json_out *out, const struct mvm_run *run);

extern const struct fields snapshot_info_fields;

json_t *template_spec_json(struct json_out *out, const struct mvm_template_spec *spec);
json_t *template_revision_json(struct json_out *out, const struct mvm_template_revision *revision);
json_t *template_kind_json(struct json_out *out, const struct mvm_template_kind *kind);

#endif
