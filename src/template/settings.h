/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEMPLATE_SETTINGS_H
#define TEMPLATE_SETTINGS_H

/* Convert settings by key (struct mvm_template_setting) to a spec and from a spec. */

#include "model/template.h"

/*
 * Change a spec.
 *
 *   spec      changed in place; half-changed after a failure
 *   settings  as for mvm_template_edit(); the caller checks the changed spec
 *
 * Returns 0; -EINVAL naming the key that is unknown, is given twice, or has a value of the wrong
 * form; -ENOMEM.
 */
int settings_apply(struct mvm_template_spec *spec, const struct mvm_template_setting *settings,
		   size_t n, struct mvm_error *err);

/*
 * List the settings of a run that are set.
 *
 *   ret  settings_free() it with *ret_n
 *
 * Returns 0 or -ENOMEM.
 */
int settings_of_run(const struct mvm_run *run, struct mvm_template_setting **ret, size_t *ret_n);
void settings_free(struct mvm_template_setting *settings, size_t n);

#endif
