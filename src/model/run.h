/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

/* The rules of the `run` settings that hold wherever they are read from. */

#include <mvm/template.h>

/* Take every setting that `to` does not have from `from`.  Returns 0 or -ENOMEM. */
int run_inherit(struct mvm_run *to, const struct mvm_run *from);

/* Make empty lists and texts the same as none: they only served to undo a default. */
void run_tidy(struct mvm_run *run);

/* What is wrong with the settings, or NULL: static text, and the key that it is about. */
const char *run_problem(const struct mvm_run *run, const char **ret_key);

const char *network_name(enum mvm_network network); /* NULL when not set */
int network_parse(const char *s, enum mvm_network *ret);

#endif
