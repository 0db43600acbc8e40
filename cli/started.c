/* SPDX-License-Identifier: Apache-2.0 */
#include "started.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_command.h"
#include "json.h"
#include "out.h"

void started_done(struct started *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		mvm_instance_close(l->v[i]);
	free(l->v);
	if (l->signal_fd >= 0)
		close(l->signal_fd);
}

int started_begin(struct cli_context *c, uint32_t n, struct started *ret)
{
	ret->v = calloc(n, sizeof(struct mvm_instance *));
	if (!ret->v)
		return cli_error(c, -ENOMEM, "out of memory");
	ret->n = n;
	ret->signal_fd = guest_signals_block(false);
	c->progress.cancel_fd = &ret->signal_fd; /* -1: none */
	return 0;
}

int started_end(struct cli_context *c, struct started *list, int r)
{
	c->progress.cancel_fd = NULL;
	int number = r == -ECANCELED ? guest_signals_take(list->signal_fd) : 0;
	if (number > 0)
		c->failure_status = 128 + number;
	if (r < 0)
		guest_signals_unblock(); /* main still prints the error */
	return r;
}

static int print_started(struct cli_context *c, struct mvm *mvm, const struct started *list,
			 bool counted)
{
	int r = 0;
	if (c->json && counted)
		puts("["); /* main looks at the stream's errors */
	for (uint32_t i = 0; i < list->n && r == 0; i++) {
		AUTO(mvm_instance_info) info = NULL;
		const char *name = mvm_instance_name(list->v[i]);
		if (!c->json) {
			puts(name);
			continue;
		}
		r = mvm_instance_inspect(mvm, name, &info, &c->err);
		const char *json = r == 0 ? info->json : mvm_instance_start_json(list->v[i]);
		if (r == -ENOENT && json)
			r = 0; /* with --rm it may be gone by now */
		if (r == 0 && i)
			putchar(',');
		if (r == 0)
			r = json_show(json, stdout);
	}
	if (c->json && counted)
		puts("]");
	return r;
}

int started_hand_over(struct cli_context *c, struct mvm *mvm, const struct started *list,
		      bool counted)
{
	int r = print_started(c, mvm, list, counted);
	if (r == 0 && fflush(stdout) != 0)
		r = cli_error(c, -errno, "cannot print what was started, so it was ended: %s",
			      strerror(errno));
	for (uint32_t i = 0; r == 0 && i < list->n; i++)
		mvm_instance_keep(list->v[i]);
	return r;
}
