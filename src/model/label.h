/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_LABEL_H
#define MODEL_LABEL_H

/* The labels of an instance, as a user gives them: "KEY=VALUE", or "KEY" with an empty value. */

#include "model/template.h"
#include <mvm/error.h>

#define LABELS_MAX	 32u
#define LABELS_BYTES_MAX 4096u /* of all together: each event has them */
#define LABEL_KEY_MAX	 128u

/* Check one.  0, or -EINVAL with what is wrong. */
int label_check(const char *text, struct mvm_error *err);

/*
 * Make a record's labels: each with its '=', and each key once, with its last value.
 *
 *   list  NULL-terminated; NULL: none
 *
 * Errors: -EINVAL, -E2BIG (too many, or too long together), -ENOMEM.
 */
int labels_make(const char *const *list, struct mvm_strings *ret, struct mvm_error *err);

#endif
