/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for a running instance's network (mvm/network.h). */
#include <errno.h>
#include <string.h>

#include <mvm/network.h>

#include "base/clock.h"
#include "base/extend.h"
#include "base/progress.h"
#include "codec/json.h"
#include "instance/instance.h"
#include "model/policy.h"
#include "net/agent.h"
#include "net/wire.h"
#include "start/start.h"

#define OPTIONS_FIRST STRUCT_END(struct mvm_network_options, add)
#define DEADLINE_MS   INT64_C(30000)

static int check(const char *const *rules, struct mvm_error *err)
{
	struct policy_rule rule;
	int r = 0;
	for (; rules && *rules && r == 0; rules++)
		r = policy_rule_parse(*rules, &rule, err);
	return r;
}

static json_t *list_of(const char *const *rules)
{
	size_t n = 0;
	while (rules && rules[n])
		n++;
	return json_strings((char *const *)rules, n);
}

int mvm_instance_set_network(struct mvm *mvm, const char *name,
			     const struct mvm_network_options *options,
			     const struct mvm_progress *progress, struct mvm_error *err)
{
	struct progress_watch watch;
	AUTO(mvm_instance) i = NULL;
	AUTO_DONE(strbuf) args = { 0 };
	struct mvm_network_options o;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = mvm_struct_take(&o, sizeof(o), OPTIONS_FIRST, options, err);
	if (r == 0)
		r = check(o.allow, err);
	if (r == 0)
		r = check(o.deny, err);
	if (r != 0)
		return r;
	AUTO_JSON json_t *rules = json_pack("{s:o, s:o, s:b}", "allow", list_of(o.allow), "deny",
					    list_of(o.deny), "add", o.add);
	AUTO_FREE char *text = rules ? json_dumps(rules, JSON_COMPACT) : NULL;
	if (!text)
		return mvm_error_oom(err);
	wire_put_str(&args, FIELD_JSON, text);
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	r = fd < 0 ? fd : instance_connect(fd, name, progress, &i, err);
	if (r < 0)
		return r;
	r = control_call(&i->control, CALL_NETWORK, NULL, &args, clock_deadline_ns(DEADLINE_MS),
			 NULL, err);
	return r < 0 ? mvm_error_context(err, r, "VM '%s'", name) : 0;
}
