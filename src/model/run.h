/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

/* Rules of the `run` settings that hold for every source. */

#include "model/template.h"

/* Take every setting that `to` does not have from `from`.  Returns 0 or -ENOMEM. */
int run_inherit(struct mvm_run *to, const struct mvm_run *from);

/*
 * Copy the settings of a template and fill the gaps from its image.  A setting of the template
 * wins; variables are merged by name.  An image only sets command, environment, workdir, user and
 * stop_signal.  ret may be run.  Returns 0 or -ENOMEM.
 */
int run_over_image(const struct mvm_run *run, const struct mvm_run *image, struct mvm_run *ret,
		   struct mvm_error *err);

/* Unset empty lists and texts: they only served to undo a default. */
void run_tidy(struct mvm_run *run);

/* The first rule that stored settings break, as static text, with the key; NULL: none is broken. */
const char *run_problem(const struct mvm_run *run, const char **ret_key);

/*
 * run_problem() for new settings from a user.  It also finds settings that the running guest's
 * agent would refuse, such as lists that do not fit into one message to the agent (64 KiB).  Files
 * of an older mvm may have such settings; they stay readable.
 */
#define RUN_LIST_MAX  4096	  /* items of a list */
#define RUN_BYTES_MAX (56u << 10) /* command, env and on_restore together; health.exec alone */
const char *run_input_problem(const struct mvm_run *run, const char **ret_key);

/* run_problem() for settings that are valid one by one but contradict each other.  The settings
 * must be complete, after inheritance. */
const char *run_conflict(const struct mvm_run *run, const char **ret_key);

/* Message about a template or instance that boots its image's own initrd, after its name. */
#define RUN_NO_AGENT                                                                               \
	"boots the image's own initrd, so it has no agent: no exec, cp, volumes, workload, "       \
	"health, snapshot or pool"

/* The kind of a health check that has at most one of these keys. */
enum mvm_health_kind health_kind(bool exec, bool http, bool tcp);

/* Does it say anything about the network: kind, rules or name servers? */
bool run_has_network(const struct mvm_run *run);
/* More than its kind? */
bool run_has_rules(const struct mvm_run *run);

/* The settings whose value is one of two names. */
enum run_choice {
	RUN_NETWORK,	    /* enum mvm_network */
	RUN_INITRD,	    /* enum mvm_initrd */
	RUN_SNAPSHOT_POINT, /* enum mvm_snapshot_point */
};

/* The name of a value of the setting's enum; NULL for 0, which means "not set". */
const char *run_choice_name(enum run_choice choice, unsigned value);

/* The value with this name, 1 or 2; -EINVAL. */
int run_choice_parse(enum run_choice choice, const char *name);

/* Does a clone of such a template's snapshot start its own workload? */
bool run_starts_in_clone(const struct mvm_run *run);

/* Is this meant as a restore_action, valid or not, and not as a command? */
bool restore_action_looks(const char *s);

/*
 * Parse a restore_action.
 *
 *   ret_signal  the signal's number; 0: "restart"
 *
 * Returns 0, or -EINVAL: it is neither "restart" nor "signal:" and the name of a signal.
 */
int restore_action_parse(const char *s, unsigned *ret_signal);
#define RESTORE_ACTION_RULE "is neither \"restart\" nor \"signal:\" and a signal, as in signal:USR1"

#endif
