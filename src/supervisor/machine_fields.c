/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/machine_fields.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "model/run.h"
#include "net/wire.h"

/* QEMU's user network gives every guest the same addresses; they are private to each VM. */
#define GUEST_ADDRESS "10.0.2.15/24"
#define GUEST_GATEWAY "10.0.2.2"
#define GUEST_DNS     "10.0.2.3"

void machine_put_identity(struct machine *m, const struct mvm_run *run, struct strbuf *b)
{
	uint8_t random[16], entropy[64];
	char generation[37], boot_id[UUID_SIZE];

	random_bytes(random, sizeof(random));
	/* a version 4 UUID, as machine-id(5) asks */
	random[6] = (uint8_t)((random[6] & 0x0f) | 0x40);
	random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
	str_hex(random, sizeof(random), m->machine_id);
	random_bytes(random, sizeof(random));
	str_hex(random, sizeof(random), generation);
	random_bytes(entropy, sizeof(entropy));

	wire_put_str(b, FIELD_HOSTNAME, m->hostname);
	wire_put_str(b, FIELD_MACHINE_ID, m->machine_id);
	wire_put_bytes(b, FIELD_ENTROPY, entropy, sizeof(entropy));
	wire_put_str(b, FIELD_GENERATION, generation);
	random_uuid(boot_id);
	wire_put_str(b, FIELD_BOOT_ID, boot_id);
	if (run->network != MVM_NETWORK_NONE) {
		wire_put_str(b, FIELD_ADDRESS, GUEST_ADDRESS);
		wire_put_str(b, FIELD_GATEWAY, GUEST_GATEWAY);
		wire_put_str(b, FIELD_DNS, GUEST_DNS);
	}
	wire_put_u64(b, FIELD_TIME_NS, (uint64_t)clock_wall_ns());
	explicit_bzero(entropy, sizeof(entropy));
}

void machine_put_start(const struct machine *m, struct strbuf *args)
{
	if (m->before_workload || m->stop_at_boot)
		wire_put_u64(args, FIELD_HOLD, 1);
	if (m->no_workload)
		wire_put_u64(args, FIELD_NO_WORKLOAD, 1);
}

static void put_strings(struct strbuf *b, uint16_t tag, const struct mvm_strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		wire_put_str(b, tag, strings->v[i]);
}

/* Does env set the variable of this assignment?  Of two assignments an init would use the first. */
static bool sets(const struct strv *env, const char *assignment)
{
	size_t name = strcspn(assignment, "=") + 1;
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->v[i], assignment, name) == 0)
			return true;
	}
	return false;
}

void machine_put_env(const struct machine *m, const struct mvm_run *run, struct strbuf *args)
{
	for (size_t i = 0; i < run->env.n; i++) {
		if (!m->env || !sets(m->env, run->env.v[i]))
			wire_put_str(args, FIELD_ENV, run->env.v[i]);
	}
	for (size_t i = 0; m->env && i < m->env->n; i++)
		wire_put_str(args, FIELD_ENV, m->env->v[i]);
}

static void put_on_restore(const struct mvm_run *run, struct strbuf *args)
{
	unsigned signal;
	put_strings(args, FIELD_RESTORE_ARG, &run->on_restore);
	if (str_empty(run->restore_action) ||
	    restore_action_parse(run->restore_action, &signal) < 0)
		return; /* the template was checked when it was read */
	if (signal)
		wire_put_u64(args, FIELD_RESTORE_SIGNAL, signal);
	else
		wire_put_u64(args, FIELD_RESTORE_RESTART, 1);
}

void machine_put_workload(const struct machine *m, const struct mvm_run *run, struct strbuf *args)
{
	put_strings(args, FIELD_ARG, &run->command);
	machine_put_env(m, run, args);
	wire_put_str(args, FIELD_WORKDIR, run->workdir);
	wire_put_str(args, FIELD_USER, run->user);
	if (run->stop_signal)
		wire_put_u64(args, FIELD_SIGNAL, run->stop_signal);
	put_on_restore(run, args);
}

void machine_put_health(const struct mvm_health *health, uint64_t interval_ms, uint64_t timeout_ms,
			struct strbuf *args)
{
	if (health->kind == MVM_HEALTH_HTTP)
		wire_put_str(args, FIELD_HEALTH_HTTP, health->http);
	else if (health->kind == MVM_HEALTH_TCP)
		wire_put_u64(args, FIELD_HEALTH_TCP, health->tcp);
	else if (health->kind == MVM_HEALTH_EXEC)
		put_strings(args, FIELD_ARG, &health->exec);
	wire_put_u64(args, FIELD_INTERVAL_MS, interval_ms);
	wire_put_u64(args, FIELD_TIMEOUT_MS, timeout_ms);
}
