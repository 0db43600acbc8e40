/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

/*
 * All commands.
 *
 * To add one: write cli/cmd_<name>.c (one file may hold the few commands of one noun) with
 *
 *	static const struct option options[] = {
 *		{ .name = "force", .letter = 'f', .kind = OPTION_FLAG, .help = "rebuild" },
 *		OPTION_JSON,
 *		{ 0 },
 *	};
 *
 *	static int run(struct cli_context *c, const struct args *a)
 *	{
 *		return mvm_..._(args_at(a, 0), args_flag(a, "force"), &c->progress, &c->err);
 *	}
 *
 *	const struct command command_template_build = {
 *		.path = "template build",
 *		.summary = "Build a template's next revision",
 *		.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
 *		.options = options,
 *		.run = run,
 *	};
 *
 * then declare it below, put it into its section in commands.c and the file into meson.build.
 * cmd_version.c is a whole small one.  Help, completion and the man page follow by themselves.
 */

#include <stddef.h>

#include "command.h"

extern const struct command command_backends;
extern const struct command command_commit;
extern const struct command command_completion;
extern const struct command command_cp;
extern const struct command command_doctor;
extern const struct command command_events;
extern const struct command command_exec;
extern const struct command command_fork;
extern const struct command command_help;
extern const struct command command_inspect;
extern const struct command command_kernel_add;
extern const struct command command_kernel_fetch;
extern const struct command command_kernel_list;
extern const struct command command_kernel_rm;
extern const struct command command_key_generate;
extern const struct command command_key_list;
extern const struct command command_key_trust;
extern const struct command command_key_untrust;
extern const struct command command_token_add;
extern const struct command command_token_list;
extern const struct command command_token_rm;
extern const struct command command_kill;
extern const struct command command_login;
extern const struct command command_logout;
extern const struct command command_logs;
extern const struct command command_node_features;
extern const struct command command_node_labels;
extern const struct command command_node_status;
extern const struct command command_pause;
extern const struct command command_rename;
extern const struct command command_update;
extern const struct command command_pool_list;
extern const struct command command_pool_serve;
extern const struct command command_volume_list;
extern const struct command command_volume_inspect;
extern const struct command command_volume_rm;
extern const struct command command_network_show;
extern const struct command command_network_set;
extern const struct command command_pool_set;
extern const struct command command_port;
extern const struct command command_suspend;
extern const struct command command_ps;
extern const struct command command_resume;
extern const struct command command_rm;
extern const struct command command_restart;
extern const struct command command_run;
extern const struct command command_start;
extern const struct command command_stats;
extern const struct command command_stop;
extern const struct command command_template_apply;
extern const struct command command_template_build;
extern const struct command command_template_create;
extern const struct command command_template_create_multi;
extern const struct command command_template_delete;
extern const struct command command_template_diff;
extern const struct command command_template_edit;
extern const struct command command_template_export;
extern const struct command command_template_history;
extern const struct command command_template_import;
extern const struct command command_template_info;
extern const struct command command_template_init;
extern const struct command command_template_list;
extern const struct command command_template_prune;
extern const struct command command_template_pull;
extern const struct command command_template_push;
extern const struct command command_template_rm;
extern const struct command command_template_rollback;
extern const struct command command_template_sign;
extern const struct command command_template_snapshot;
extern const struct command command_template_verify;
extern const struct command command_top;
extern const struct command command_version;
extern const struct command command_wait;

#define SECTION_COMMANDS_MAX 24

struct command_section {
	const char *title;					  /* NULL ends the list */
	const struct command *commands[SECTION_COMMANDS_MAX + 1]; /* ends with NULL */
};

extern const struct command_section command_sections[];

/*
 * Find the command that words begin with, by its longest name.
 *
 *   words    NULL-terminated
 *   ret_len  how many words its name took
 *
 * Returns NULL when there is none.
 */
const struct command *command_find(const char *const *words, size_t *ret_len);

/* Is there a command of more than one word that begins with this one? */
bool command_is_group(const char *word);

/* The command, or first word of commands, that was meant by words that are none; into size bytes
 * at buf, or NULL. */
const char *command_nearest(const char *const *words, char *buf, size_t size);

#endif
