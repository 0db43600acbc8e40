/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

const struct command_section command_sections[] = {
	{ "Templates",
	  { &command_template_init,   &command_template_build,	      &command_template_apply,
	    &command_template_create, &command_template_create_multi, &command_template_edit,
	    &command_template_list,   &command_template_info,	      &command_template_delete,
	    &command_template_rm,     &command_template_history,      &command_template_rollback,
	    &command_template_diff,   &command_template_snapshot,     &command_template_verify,
	    &command_template_prune,  &command_template_export,	      &command_template_import,
	    &command_template_push,   &command_template_pull,	      &command_template_sign } },
	{ "Instances",
	  { &command_run,     &command_ps,     &command_port,  &command_stats,	 &command_top,
	    &command_inspect, &command_exec,   &command_cp,    &command_commit,	 &command_logs,
	    &command_events,  &command_wait,   &command_pause, &command_resume,	 &command_suspend,
	    &command_fork,    &command_stop,   &command_start, &command_restart, &command_kill,
	    &command_rename,  &command_update, &command_rm } },
	{ "Networks of instances", { &command_network_show, &command_network_set } },
	{ "Pools of waiting VMs", { &command_pool_set, &command_pool_list, &command_pool_serve } },
	{ "Kernels",
	  { &command_kernel_fetch, &command_kernel_add, &command_kernel_list,
	    &command_kernel_rm } },
	{ "Keys of templates",
	  { &command_key_generate, &command_key_trust, &command_key_untrust, &command_key_list } },
	{ "Tokens of mvmd", { &command_token_add, &command_token_list, &command_token_rm } },
	{ "Registries", { &command_login, &command_logout } },
	{ "Named volumes", { &command_volume_list, &command_volume_inspect, &command_volume_rm } },
	{ "This host",
	  { &command_backends, &command_doctor, &command_node_status, &command_node_features,
	    &command_node_labels } },
	{ "mvm itself", { &command_version, &command_help, &command_completion } },
	{ 0 },
};

/* Does the space-separated path begin the words?  Returns how many words it has, or 0. */
static size_t matches(const char *path, const char *const *words)
{
	size_t n = 0;
	for (;; n++) {
		size_t len = strcspn(path, " ");
		if (!words[n] || strlen(words[n]) != len || memcmp(words[n], path, len) != 0)
			return 0;
		if (!path[len])
			return n + 1;
		path += len + 1;
	}
}

const struct command *command_find(const char *const *words, size_t *ret_len)
{
	const struct command *found = NULL;
	size_t longest = 0;

	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			size_t n = matches((*c)->path, words);
			if (n > longest) {
				found = *c;
				longest = n;
			}
		}
	}
	if (found)
		*ret_len = longest;
	return found;
}

bool command_is_group(const char *word)
{
	size_t len = strlen(word);

	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			if (str_starts((*c)->path, word) && (*c)->path[len] == ' ')
				return true;
		}
	}
	return false;
}

/* The part of each command's name that may follow `group`, or all first words without one. */
static void list_words(const char *group, struct strv *ret)
{
	size_t skip = group ? strlen(group) + 1 : 0;

	for (const struct command_section *s = command_sections; s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			const char *path = (*c)->path;
			if (group && (!str_starts(path, group) || path[skip - 1] != ' '))
				continue;
			strv_addn(ret, path + skip,
				  group ? strlen(path + skip) : strcspn(path, " "));
		}
	}
}

const char *command_nearest(const char *const *words, char *buf, size_t size)
{
	AUTO_DONE(strv) known = { 0 };
	const char *group = words[1] && command_is_group(words[0]) ? words[0] : NULL;

	/* `mvm build` is `mvm template build` */
	for (const struct command_section *s = command_sections; !group && s->title; s++) {
		for (const struct command *const *c = s->commands; *c; c++) {
			const char *last = strrchr((*c)->path, ' ');
			if (last && str_eq(last + 1, words[0]))
				return (*c)->path;
		}
	}
	list_words(group, &known);
	const char *nearest = str_nearest(group ? words[1] : words[0], (const char *const *)known.v,
					  known.n);
	if (!nearest)
		return NULL;
	snprintf(buf, size, "%s%s%s", group ? group : "", group ? " " : "", nearest);
	return buf;
}
