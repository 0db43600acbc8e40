/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "handles.h"
#include "hints.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

/* How to make a backend usable or faster; NULL when all is well. */
static const char *mend_of(const struct mvm_backend_info *b, char buf[HINT_SIZE])
{
	return b->mend ? b->mend : hint_of_reason(b->mend_reason, b->name, buf);
}

static void backend_json(struct jsonw *j, const struct mvm_backend_info *b)
{
	char buf[HINT_SIZE];
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", b->name);
	jsonw_bool(j, "usable", b->usable);
	jsonw_string(j, "reason", b->reason);
	jsonw_string(j, "mend", mend_of(b, buf));
	jsonw_string(j, "binary", b->binary);
	jsonw_string(j, "version", b->version);
	jsonw_string(j, "accelerator", b->accelerator);
	jsonw_string(j, "accelerator_reason", b->accelerator_reason);
	jsonw_open(j, "capabilities", '{');
	jsonw_bool(j, "snapshots", b->snapshots);
	jsonw_bool(j, "pause", b->pause);
	jsonw_bool(j, "network_user", b->network);
	jsonw_bool(j, "shared_memory_clones", b->shared_memory);
	jsonw_string(j, "agent_transport", b->agent_transport);
	jsonw_close(j);
	jsonw_close(j);
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_backend_info_list) all = { 0 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_backend_list(mvm, NULL, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	if (c->json) {
		AUTO_DONE(jsonw) j = { 0 };
		jsonw_open(&j, NULL, '[');
		for (size_t i = 0; i < all.n; i++)
			backend_json(&j, all.v[i]);
		jsonw_close(&j);
		return jsonw_print(&j, stdout);
	}
	AUTO_DONE(table) t = { .columns = 5 };
	table_row(&t, "NAME", "USABLE", "ACCELERATOR", "SNAPSHOTS", "VERSION OR REASON");
	for (size_t i = 0; i < all.n; i++) {
		const struct mvm_backend_info *b = all.v[i];
		AUTO_FREE char *accel = str_printf("%s (%s)", b->accelerator ? b->accelerator : "-",
						   b->accelerator_reason ? b->accelerator_reason
									 : "-");
		table_row(&t, b->name, b->usable ? "yes" : "no", accel, b->snapshots ? "yes" : "no",
			  b->usable ? b->version : b->reason);
	}
	r = table_print(&t, stdout);
	if (r == 0 && fflush(stdout) != 0)
		return -errno;
	for (size_t i = 0; i < all.n; i++) {
		char buf[HINT_SIZE];
		const char *mend = mend_of(all.v[i], buf);
		AUTO_FREE char *text = mend ? str_printf("%s: %s", all.v[i]->name, mend) : NULL;
		if (text)
			note(c, text);
	}
	return r;
}

static const struct option options[] = { OPTION_JSON, { 0 } };

const struct command command_backends = {
	.path = "backends",
	.summary = "Show what can run VMs here",
	.options = options,
	.run = run,
};
