/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend's body does while its VMM runs: vmm.h has the ops. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "model/policy.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"

static int answer_connect(struct warden *w, struct line_message *ret)
{
	int fd = w->ops->connect ? w->ops->connect(w->body) : -EPERM;
	if (fd >= 0)
		line_add_fd(ret, fd);
	return fd < 0 ? fd : 0;
}

/* Store the state once for each VMM, since a capture ends it, and lay it once, since a restore is
 * its first step.  A supervisor that a guest has broken into could ask again and again: each move
 * takes the warden's time and memory, and a store takes a process. */
static int answer_move_state(struct warden *w, bool store, struct mvm_error *err)
{
	int dir_fd = vmm_state_dir(w, store);
	bool *moved = store ? &w->stored : &w->laid;
	if (dir_fd < 0 || !w->ops->move_state || *moved)
		return -EPERM;
	*moved = true;
	return w->ops->move_state(w->body, dir_fd, store, err);
}

static bool same_forward(const struct vmm_forward *a, const struct vmm_forward *b)
{
	return a->udp == b->udp && a->host_port == b->host_port && a->guest_port == b->guest_port &&
	       strncmp(a->host_address, b->host_address, sizeof(a->host_address)) == 0;
}

/* Only a port that the record of whoever takes this VM of a pool has. */
static int answer_open_port(struct warden *w, const struct strbuf *asked, struct mvm_error *err)
{
	struct vmm_forward forward;
	struct wire_field f;
	if (!w->ops->open_port || wire_find(asked->data, asked->len, TAG_FORWARDS, &f) <= 0 ||
	    f.len != sizeof(forward))
		return -EPROTO;
	if (f.data[offsetof(struct vmm_forward, udp)] > 1)
		return -EPROTO; /* no bool */
	memcpy(&forward, f.data, sizeof(forward));
	for (size_t i = 0; w->wanted.name && i < w->wanted.n_forwards; i++) {
		if (same_forward(&forward, &w->ports.inner[i]))
			return w->ops->open_port(w->body, &w->ports.inner[i], err);
	}
	return mvm_error_set(err, -EPERM, "the VM has no such port");
}

/* The rules come from a client, by the other process; the name servers do not. */
static int answer_set_rules(struct warden *w, const struct strbuf *asked, struct mvm_error *err)
{
	AUTO_DONE(strv) allow = { 0 };
	AUTO_DONE(strv) deny = { 0 };
	struct wire_reader reader = { (const uint8_t *)asked->data, asked->len };
	struct wire_field f;
	/* a held network waits until the kept state is taken */
	if (!w->ops->set_rules || w->config.network_held)
		return -EPERM;
	while (wire_next(&reader, &f) > 0) {
		struct strv *list = f.tag == TAG_ALLOW ? &allow : &deny;
		bool is_rule = f.tag == TAG_ALLOW || f.tag == TAG_DENY;
		if (is_rule && list->n < POLICY_RULES_MAX)
			strv_addn(list, (const char *)f.data, f.len);
	}
	if (allow.failed || deny.failed)
		return mvm_error_oom(err);
	struct vmm_network rules = network_rules(&w->revision,
						 w->wanted.name ? &w->wanted : &w->record);
	rules.allow = allow.v;
	rules.n_allow = allow.n;
	rules.deny = deny.v;
	rules.n_deny = deny.n;
	return w->ops->set_rules(w->body, &rules, err);
}

int body_answer(struct warden *w, const struct line_message *asked, struct line_message *ret,
		struct mvm_error *err)
{
	uint64_t number = 0;
	wire_find_u64(asked->fields.data, asked->fields.len, TAG_NUMBER, UINT64_MAX, &number);
	if (!w->body)
		return -ESRCH;
	switch ((enum warden_body_question)asked->what) {
	case ASK_CONNECT:
		return answer_connect(w, ret);
	case ASK_HALT:
		return w->ops->halt && number <= VMM_HALT_STILL
			       ? w->ops->halt(w->body, (enum vmm_halt)number)
			       : -EPERM;
	case ASK_HOST_SWAPS:
		wire_put_u64(&ret->fields, TAG_NUMBER, !w->ops->host_swaps || w->ops->host_swaps());
		return 0;
	case ASK_MOVE_STATE:
		return answer_move_state(w, number, err);
	case ASK_OPEN_PORT:
		return answer_open_port(w, &asked->fields, err);
	case ASK_SET_RULES:
		return answer_set_rules(w, &asked->fields, err);
	}
	return mvm_error_set(err, -EPROTO, "the warden does not know question %d", asked->what);
}
