/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

/* The rules of the `run` settings that hold wherever they are read from. */

#include <mvm/template.h>

/* Take every setting that `to` does not have from `from`.  Returns 0 or -ENOMEM. */
int run_inherit(struct mvm_run *to, const struct mvm_run *from);

/*
 * The settings of a template over those of its image, as a copy: each one the template has wins,
 * and variables are merged by name.  Command, environment, workdir and user are all that an image
 * has a say in.  ret may be run.  Returns 0 or -ENOMEM.
 */
int run_over_image(const struct mvm_run *run, const struct mvm_run *image, struct mvm_run *ret,
		   struct mvm_error *err);

/* Make empty lists and texts the same as none: they only served to undo a default. */
void run_tidy(struct mvm_run *run);

/* What is wrong with the settings, or NULL: static text, and the key that it is about. */
const char *run_problem(const struct mvm_run *run, const char **ret_key);

const char *network_name(enum mvm_network network); /* NULL when not set */
int network_parse(const char *s, enum mvm_network *ret);

#endif
