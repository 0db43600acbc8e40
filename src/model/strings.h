/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_STRINGS_H
#define MODEL_STRINGS_H

/* The public string list, made from the internal one. */

#include "model/template.h"

#include "base/own.h"
#include "base/str.h"

DEFINE_AUTO_DONE(mvm_strings, mvm_strings_done)

/* Move the list to *ret, freeing the old *ret.  The result counts as set, even without items.
 * Returns 0 or -ENOMEM (also when the list had failed before). */
int strings_take(struct strv *from, struct mvm_strings *ret);

/* Replace *ret by a deep copy; the copy of an unset list is unset.  Returns 0 or -ENOMEM. */
int strings_copy(const struct mvm_strings *from, struct mvm_strings *ret);

#endif
