/* SPDX-License-Identifier: Apache-2.0 */
/* How a supervisor brings its machine up: restore or boot, and proof of what was restored. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "codec/sha256.h"
#include "supervisor/supervise.h"

/* A restore that is given up becomes a boot, which is slower still. */
#define RESTORE_DEADLINE_MS INT64_C(120000) /* to the clone's identity */
#define BOOTS_MAX	    4		    /* of a kernel that finds no timer on a busy host */

#define RATE_MIB     256u /* as in model/config_keys.c */
#define RATE_PACKETS 100000u

static void on_agent_broken(void *arg)
{
	clients_guest_gone(arg);
}

struct vmm_network network_rules(const struct mvm_template_revision *revision,
				 const struct record *rec)
{
	const struct mvm_run *run = &revision->run;
	bool own_dns = rec->network_dns.n > 0;
	return (struct vmm_network){
		.allow = rec->network_allow.v,
		.n_allow = rec->network_allow.n,
		.deny = rec->network_deny.v,
		.n_deny = rec->network_deny.n,
		.dns = own_dns ? rec->network_dns.v : run->dns.v,
		.n_dns = own_dns ? rec->network_dns.n : run->dns.n,
		.bytes_per_s = (uint64_t)(run->rate_mib ? run->rate_mib : RATE_MIB) << 20,
		.packets_per_s = run->rate_packets ? run->rate_packets : RATE_PACKETS,
	};
}

static int spawn_machine(struct supervisor *s, const struct vmm_ops *ops, int64_t deadline_ns,
			 struct mvm_error *err)
{
	struct record *rec = &s->record;
	char isolation[VMM_ISOLATION_TEXT_SIZE];
	s->machine.on_logged = clients_logged;
	s->machine.logged_arg = &s->clients;
	int r = machine_spawn(&s->machine, ops, rec, &s->revision, deadline_ns, err);
	if (r < 0)
		return r;
	if (s->end)
		return mvm_error_cancelled(err, "the start");
	r = source_check(s, err); /* there was no VMM to kill */
	if (r < 0)
		return r;
	s->machine.env = &rec->env;
	s->machine.follows = workload_is_followed(s, rec);
	s->machine.no_workload = rec->no_workload;
	s->machine.rehearses = rec->purpose == RECORD_FOR_CHECK;
	s->machine.stop_at_boot = rec->purpose == RECORD_FOR_CAPTURE &&
				  s->revision.run.snapshot_point == MVM_POINT_BOOT;
	if (rec->hostname)
		snprintf(s->machine.hostname, sizeof(s->machine.hostname), "%s", rec->hostname);
	set_string(&rec->network_problem, NULL);
	set_string(&rec->disk_problem, NULL);
	vmm_on_disk(s->machine.vmm, on_disk_error, s);
	vmm_on_network(s->machine.vmm, on_network, s);
	rec->vmm_pid = s->machine.vmm->process.pid;
	set_string(&rec->isolation, vmm_isolation_text(s->machine.vmm->isolation, isolation));
	s->machine.agent.on_frame = clients_on_guest_frame;
	s->machine.agent.on_broken = on_agent_broken;
	s->machine.agent.arg = &s->clients;
	return 0;
}

int check_nonce(const struct supervisor *s, const uint8_t nonce[NONCE_BYTES], struct mvm_error *err)
{
	const char *expected = mvm_snapshot_info_compat(&s->revision.snapshot, "nonce_sha256");
	struct mvm_digest digest;
	char hex[65];

	sha256_buf(nonce, NONCE_BYTES, &digest);
	digest_hex(&digest, hex);
	if (!str_eq(expected, hex))
		return mvm_error_set(err, -EBADMSG,
				     "the restored guest does not know the snapshot's nonce");
	return 0;
}

static int start_restore(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(RESTORE_DEADLINE_MS);
	uint8_t nonce[NONCE_BYTES];
	int r = spawn_machine(s, ops, deadline_ns, err);
	bool continues = s->record.continues;
	if (r == 0 && continues)
		r = continue_guest(s, deadline_ns, err);
	else if (r == 0 && s->record.purpose == RECORD_FOR_POOL)
		r = machine_stand_by(&s->machine, &s->revision.run, deadline_ns, nonce, err);
	else if (r == 0)
		r = machine_restore(&s->machine, &s->revision.run, deadline_ns, nonce, err);
	if (s->record.memory >= RECORD_MEMORY_SPARSE)
		warden_forget_memory(&s->warden);
	return r < 0 || continues ? r : check_nonce(s, nonce, err);
}

static int start_boot(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	const struct supervisor_given *given = s->given;
	int r = spawn_machine(s, ops, clock_deadline_ns(given->boot_ms), err);
	if (r < 0)
		return r;
	r = machine_boot(&s->machine, &s->revision.run, given->boot_ms, given->boot_max_ms, err);
	/* whoever takes the snapshot boots it once more */
	if (r == -ETIMEDOUT && !s->machine.agent.hello && s->record.purpose == RECORD_FOR_CAPTURE)
		r = mvm_error_reason(err, r, "guest-silent", s->record.template_id);
	return r;
}

int bring_up(struct supervisor *s, struct mvm_error *err)
{
	const struct vmm_ops *ops = s->given->backend;
	int r = ops ? 0 : vmm_backend_find(s->record.backend, &ops, err);
	if (r < 0)
		return r;
	machine_begin(&s->machine, s->loop, &s->warden);
	s->machine.source_fd = s->source_fd;
	if (!s->record.continues) /* else its guest has them */
		fill_volumes_first(s, &s->record);
	if (s->record.restore)
		return start_restore(s, ops, err);
	r = start_boot(s, ops, err);
	for (int i = 1; r < 0 && i < BOOTS_MAX && machine_lacked_timer(&s->machine); i++) {
		machine_free(&s->machine);
		warden_put_away(&s->warden);
		machine_begin(&s->machine, s->loop, &s->warden);
		s->machine.source_fd = s->source_fd;
		fill_volumes_first(s, &s->record);
		clients_guest_back(&s->clients);
		r = start_boot(s, ops, err);
	}
	return r;
}
