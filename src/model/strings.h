/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_STRINGS_H
#define MODEL_STRINGS_H

/* The public string list, and how it is made from the internal one. */

#include "model/template.h"

#include "base/own.h"
#include "base/str.h"

DEFINE_AUTO_DONE(mvm_strings, mvm_strings_done)

/* Replace *ret by the list, which is emptied.  The result counts as given, also without items.
 * Returns 0 or -ENOMEM (also when the list had failed before). */
int strings_take(struct strv *from, struct mvm_strings *ret);

/* A deep copy replaces *ret; a list that is not set stays so.  Returns 0 or -ENOMEM. */
int strings_copy(const struct mvm_strings *from, struct mvm_strings *ret);

#endif
