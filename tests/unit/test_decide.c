/* SPDX-License-Identifier: Apache-2.0 */
/* Restore or boot: change everything that a snapshot depends on, one thing at a time. */
#include "snapshot_world.h"

#define OTHER_HEX "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

/* The plan must be a boot, and its reason the first difference between the two lists of facts. */
static void assert_boots(struct world *w, unsigned vcpus, uint32_t mem_mib, const char *theirs,
			 const char *ours, const char *what)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	fail_with(decide(w, vcpus, mem_mib, &plan, &err), &err);
	assert_false(plan.restore);
	assert_non_null(plan.reason);
	AUTO_FREE char *values = str_printf("'%s' in the snapshot, '%s' here", theirs, ours);
	if (!strstr(plan.reason, values))
		fail_msg("%s: %s; and not: %s", what, plan.reason, values);
}

typedef void (*with_world_fn)(struct world *w);

/* Run a test for every backend and accelerator. */
static void everywhere(void **state, with_world_fn test)
{
	for (size_t i = 0; vmm_backends[i]; i++) {
		for (int accel = VMM_ACCEL_TCG; accel <= VMM_ACCEL_KVM; accel++) {
			AUTO_DONE(world) w;
			make_world(state, vmm_backends[i], (enum vmm_accel)accel, &w);
			test(&w);
		}
	}
}

static void restores(struct world *w)
{
	assert_restores(w);
}

static void a_snapshot_that_was_made_here_is_restored(void **state)
{
	everywhere(state, restores);
}

static bool is_proof(const char *pair)
{
	return str_starts(pair, FACT_MEM_FILE "=") || str_starts(pair, FACT_DATA_FILE "=") ||
	       str_starts(pair, FACT_ROOT_FILE "=") || str_starts(pair, FACT_NONCE "=");
}

/* The hash of the hosts that a snapshot is for depends on each fact that is of a kind of host, in
 * whatever order they are written, and on no other. */
static void a_kind_of_host_is_hashed(struct world *w)
{
	static const char *const of_machine[] = { "host",	 "boot_args", "vcpus",
						  "mem_mib",	 "devices",   "network",
						  "vmlinux",	 "initrd",    "rootfs",
						  "data_disk",	 "root_disk", "root_disk_mib",
						  "nonce_sha256" };
	const struct mvm_strings *compat = &w->revision.rev.snapshot.compat;
	AUTO_FREE char **facts = calloc(compat->n, sizeof(*facts));
	struct variant_key before, after;
	size_t n_hashed = 0;

	facts_key(compat->v, compat->n, &before);
	for (size_t i = 0; i < compat->n; i++)
		facts[i] = compat->v[compat->n - 1 - i];
	facts_key(facts, compat->n, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	for (size_t i = 0; i < compat->n; i++) {
		char *pair = facts[i];
		AUTO_FREE char *key = strndup(pair, strcspn(pair, "="));
		AUTO_FREE char *other = str_printf("%s=another", key);
		bool hashed = !is_proof(pair);
		for (size_t k = 0; k < MVM_ARRAY_SIZE(of_machine); k++)
			hashed &= !str_eq(of_machine[k], key);
		facts[i] = other;
		facts_key(facts, compat->n, &after);
		facts[i] = pair;
		if (hashed != (memcmp(&before, &after, sizeof(before)) != 0))
			fail_msg("%s: '%s' must %sbe hashed", w->ops->name, key,
				 hashed ? "" : "not ");
		n_hashed += hashed;
	}
	assert_true(n_hashed >= 5);
}

static void the_key_of_a_snapshot_has_each_fact_of_its_host(void **state)
{
	everywhere(state, a_kind_of_host_is_hashed);
}

/* Give each key of the snapshot another value, and then no value. */
static void each_key_counts(struct world *w)
{
	struct mvm_strings *compat = &w->revision.rev.snapshot.compat;
	size_t tried = 0;
	for (size_t i = 0; i < compat->n; i++) {
		char *pair = compat->v[i];
		if (is_proof(pair))
			continue;
		size_t len = strcspn(pair, "=");
		AUTO_FREE char *other = str_printf("%.*s=other", (int)len, pair);
		AUTO_FREE char *renamed = str_printf("was-%s", pair);

		compat->v[i] = other;
		assert_boots(w, 0, 0, "other", pair + len + 1, pair);
		compat->v[i] = renamed;
		assert_boots(w, 0, 0, "nothing", pair + len + 1, pair);
		compat->v[i] = pair;
		tried++;
	}
	assert_true(tried >= 16);
	assert_restores(w);
}

static void each_fact_of_the_snapshot_is_compared(void **state)
{
	everywhere(state, each_key_counts);
}

/* A workload that runs in the snapshot's memory cannot be left out. */
static void no_workload_counts(struct world *w)
{
	const struct mvm_start_options options = { .no_workload = true };
	for (int boot = 0; boot < 2; boot++) {
		AUTO_DONE(start_plan) plan = { 0 };
		const struct start_request request = {
			.revision = &w->revision,
			.ops = w->ops,
			.probe = &w->probe,
			.options = &options,
		};
		w->revision.rev.run.snapshot_point = boot ? MVM_POINT_BOOT : MVM_POINT_UNSET;
		assert_int_equal(start_decide(&request, &plan, NULL), 0);
		assert_int_equal(plan.restore, boot);
		if (!boot)
			assert_non_null(strstr(plan.reason, "none is wanted"));
	}
}

/* Variables only count for a clone whose workload is yet to start. */
static void variables_count(struct world *w)
{
	static const char *const env[] = { "A=1", NULL };
	const struct mvm_start_options options = { .env = env };
	const enum mvm_snapshot_point points[] = { MVM_POINT_UNSET, MVM_POINT_BOOT };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(points); i++) {
		AUTO_DONE(start_plan) plan = { 0 };
		const struct start_request request = {
			.revision = &w->revision,
			.ops = w->ops,
			.probe = &w->probe,
			.options = &options,
		};
		w->revision.rev.run.snapshot_point = points[i];
		assert_int_equal(start_decide(&request, &plan, NULL), 0);
		assert_int_equal(plan.restore, points[i] == MVM_POINT_BOOT);
	}
}

static void variables_are_for_a_workload_that_starts_in_the_clone(void **state)
{
	everywhere(state, variables_count);
	everywhere(state, no_workload_counts);
}

/* A snapshot of another host starts by its signature alone, and then on any like host. */
static void its_origin_counts(struct world *w)
{
	struct mvm_snapshot_info *info = &w->revision.rev.snapshot;
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };

	for (size_t i = 0; i < info->compat.n; i++) {
		if (!str_starts(info->compat.v[i], FACT_HOST "="))
			continue;
		free(info->compat.v[i]);
		info->compat.v[i] = strdup(FACT_HOST "=elsewhere");
	}
	fail_with(decide(w, 0, 0, &plan, &err), &err);
	assert_false(plan.restore);
	assert_non_null(strstr(plan.reason, "the host it was made on differs"));
	start_plan_done(&plan);
	info->origin = strdup("sha256:" OTHER_HEX);
	w->revision.snapshot_foreign = true;
	fail_with(decide(w, 0, 0, &plan, &err), &err);
	assert_false(plan.restore);
	assert_non_null(strstr(plan.reason, "no key that you trust has signed it"));
	w->revision.snapshot_foreign = false;
	assert_restores(w);
	info->vcpus = 2;
	assert_boots(w, 0, 0, "2", "1", "vcpus");
}

static void a_signed_snapshot_of_another_host_is_restored(void **state)
{
	everywhere(state, its_origin_counts);
}

static void add_key(struct world *w, const char *pair)
{
	struct mvm_strings *compat = &w->revision.rev.snapshot.compat;
	char **more = calloc(compat->n + 1, sizeof(*more));
	char **old = compat->v;
	assert_non_null(more);
	memcpy(more, old, compat->n * sizeof(*more));
	more[compat->n++] = strdup(pair);
	compat->v = more;
	free(old);
}

static void unknown_keys_count(struct world *w)
{
	add_key(w, "firmware=7");
	assert_boots(w, 0, 0, "7", "nothing", "firmware");
}

static void an_unknown_dependency_is_a_difference(void **state)
{
	everywhere(state, unknown_keys_count);
}

static void infos_count(struct world *w)
{
	struct mvm_snapshot_info *info = &w->revision.rev.snapshot;
	AUTO_FREE char *args = strdup(info->boot_args);
	info->vcpus = 2;
	assert_boots(w, 0, 0, "2", "1", "vcpus");
	info->vcpus = 1;
	info->mem_mib = 64;
	assert_boots(w, 0, 0, "64", "128", "mem_mib");
	info->mem_mib = 128;
	info->boot_args[0] ^= 1;
	assert_boots(w, 0, 0, info->boot_args, args, "boot_args");
}

static void boot_args_vcpus_and_mem_mib_of_the_info_must_agree(void **state)
{
	everywhere(state, infos_count);
}

/* Changes of this host.  Each fact gets another value through one of them. */

static void set(char **text, const char *value)
{
	free(*text);
	*text = strdup(value);
}

static void other_version(struct world *w)
{
	set(&w->probe.version, "1.0 (Debian 2)");
}
static void other_program(struct world *w)
{
	set(&w->probe.binary_digest, OTHER_HEX);
}
static void other_format(struct world *w)
{
	set(&w->probe.state_format, "4");
}
static void other_accelerator(struct world *w)
{
	w->probe.accel = w->probe.accel == VMM_ACCEL_TCG ? VMM_ACCEL_KVM : VMM_ACCEL_TCG;
}
static void other_tsc(struct world *w)
{
	w->probe.tsc_khz++;
}
static void other_vcpus(struct world *w)
{
	w->revision.rev.vcpus = 2;
}
static void other_memory(struct world *w)
{
	w->revision.rev.mem_mib = 160;
}
static void other_boot_args(struct world *w)
{
	set(&w->revision.rev.run.boot_args, "quiet");
}
static void no_network(struct world *w)
{
	w->revision.rev.run.network = MVM_NETWORK_NONE;
}
static void no_data_disk(struct world *w)
{
	w->revision.rev.data_disk_mib = 0;
}
static void other_root_disk(struct world *w)
{
	w->revision.rev.root_disk_mib = 2;
}
static void other_artifact(struct world *w, const char *name)
{
	struct strv *list = &w->revision.artifacts;
	for (size_t i = 0; i < list->n; i++) {
		if (!str_starts(list->v[i], name))
			continue;
		free(list->v[i]);
		list->v[i] = str_printf("%s=" OTHER_HEX, name);
		return;
	}
	fail_msg("no artifact %s", name);
}
static void other_kernel(struct world *w)
{
	other_artifact(w, "vmlinux");
}
static void other_rootfs(struct world *w)
{
	other_artifact(w, "rootfs");
}
static void other_initrd(struct world *w)
{
	other_artifact(w, "initrd");
}
static void other_data_disk(struct world *w)
{
	other_artifact(w, "data_disk");
}
static void other_backend(struct world *w)
{
	w->ops = w->ops == vmm_backends[0] ? vmm_backends[1] : vmm_backends[0];
}

static const struct change {
	const char *what;
	void (*make)(struct world *w);
} changes[] = {
	{ "version", other_version },	  { "binary_sha256", other_program },
	{ "state_format", other_format }, { "accelerator", other_accelerator },
	{ "tsc_khz", other_tsc },	  { "vcpus", other_vcpus },
	{ "mem_mib", other_memory },	  { "boot_args", other_boot_args },
	{ "network", no_network },	  { "devices", no_network },
	{ "devices", no_data_disk },	  { "vmlinux", other_kernel },
	{ "rootfs", other_rootfs },	  { "initrd", other_initrd },
	{ "data_disk", other_data_disk }, { "backend", other_backend },
	{ "machine", other_accelerator }, { "root_disk_mib", other_root_disk },
};

/* Facts that a process cannot change for itself; test_snapshots.py changes the host. */
static bool is_of_this_host(const char *key)
{
	static const char *const keys[] = { "host", "arch", "cpu", "host_kernel",
					    "agent_protocol" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(keys); i++) {
		if (str_eq(keys[i], key))
			return true;
	}
	return false;
}

static const char *value_of(const struct strv *facts, const char *key)
{
	size_t len = strlen(key);
	for (size_t i = 0; i < facts->n; i++) {
		if (str_starts(facts->v[i], key) && facts->v[i][len] == '=')
			return facts->v[i] + len + 1;
	}
	return "nothing";
}

/* Make one change.  The plan's reason must be the first fact, in their order, that differs. */
static void assert_noticed(const struct world *before, struct world *w, const struct change *c)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	c->make(w);
	fail_with(decide(w, 0, 0, &plan, &err), &err);
	if (plan.restore)
		fail_msg("%s, %s: restored in spite of it", w->ops->name, c->what);
	for (size_t i = 0; i < plan.facts.n; i++) {
		size_t len = strcspn(plan.facts.v[i], "=");
		AUTO_FREE char *key = strndup(plan.facts.v[i], len);
		const char *theirs = mvm_snapshot_info_compat(&before->revision.rev.snapshot, key);
		const char *ours = plan.facts.v[i] + len + 1;
		if (str_eq(theirs, ours))
			continue;
		AUTO_FREE char *says = str_printf("'%s' in the snapshot, '%s' here",
						  theirs ? theirs : "nothing", ours);
		if (!strstr(plan.reason, says))
			fail_msg("%s, %s: '%s' does not say: %s", w->ops->name, c->what,
				 plan.reason, says);
		return;
	}
	/* a fact that this host has lost */
	if (!strstr(plan.reason, "'nothing' here"))
		fail_msg("%s, %s: %s", w->ops->name, c->what, plan.reason);
}

/* Does the change give the fact another value? */
static bool changes_fact(void **state, const struct vmm_ops *ops, enum vmm_accel accel,
			 const struct change *c, const char *key)
{
	AUTO_DONE(world) w;
	AUTO_DONE(start_plan) before = { 0 };
	AUTO_DONE(start_plan) after = { 0 };
	struct mvm_error err = { 0 };
	make_world(state, ops, accel, &w);
	fail_with(decide(&w, 0, 0, &before, &err), &err);
	c->make(&w);
	fail_with(decide(&w, 0, 0, &after, &err), &err);
	return !str_eq(value_of(&before.facts, key), value_of(&after.facts, key));
}

static void each_change_on_this_host_is_noticed(void **state)
{
	for (size_t i = 0; vmm_backends[i]; i++) {
		for (size_t k = 0; k < MVM_ARRAY_SIZE(changes); k++) {
			AUTO_DONE(world) w;
			AUTO_DONE(world) before;
			make_world(state, vmm_backends[i], VMM_ACCEL_TCG, &w);
			if (!str_eq(w.ops->name, "firecracker") && changes[k].make == other_format)
				continue; /* QEMU's version tells it */
			if (!w.ops->caps.network_user && changes[k].make == no_network)
				continue;
			make_world(state, vmm_backends[i], VMM_ACCEL_TCG, &before);
			assert_noticed(&before, &w, &changes[k]);
		}
	}
}

static void no_fact_is_left_out_of_these_tests(void **state)
{
	for (size_t i = 0; vmm_backends[i]; i++) {
		AUTO_DONE(world) w;
		make_world(state, vmm_backends[i], VMM_ACCEL_TCG, &w);
		for (size_t k = 0; k < w.revision.rev.snapshot.compat.n; k++) {
			const char *pair = w.revision.rev.snapshot.compat.v[k];
			AUTO_FREE char *key = strndup(pair, strcspn(pair, "="));
			bool covered = is_proof(pair) || is_of_this_host(key);
			for (size_t n = 0; !covered && n < MVM_ARRAY_SIZE(changes); n++)
				covered = str_eq(changes[n].what, key) &&
					  changes_fact(state, w.ops, VMM_ACCEL_TCG, &changes[n],
						       key);
			if (!covered)
				fail_msg("%s: nothing here changes '%s'", w.ops->name, key);
		}
	}
}

static void asking_for_another_size_is_a_difference(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	assert_boots(&w, 2, 0, "1", "2", "vcpus");
	assert_boots(&w, 0, 256, "128", "256", "mem_mib");
}

static void another_root_disk_is_a_difference(void **state)
{
	const struct {
		uint32_t template_mib;
		const char *says;
	} cases[] = {
		{ 1, "the snapshot was made with a root disk of 1 MiB, not of 64 MiB" },
		{ 0, "the snapshot was made without a root disk" },
	};
	const struct mvm_start_options options = { .root_disk_mib = 64 };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(world) w;
		AUTO_DONE(start_plan) plan = { 0 };
		make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
		w.revision.rev.root_disk_mib = cases[i].template_mib;
		const struct start_request request = {
			.revision = &w.revision,
			.ops = w.ops,
			.probe = &w.probe,
			.options = &options,
		};
		assert_int_equal(start_decide(&request, &plan, NULL), 0);
		assert_false(plan.restore);
		assert_string_equal(plan.reason, cases[i].says);
		assert_int_equal(plan.disk_mib[OWN_DISK_ROOT], 64);
		assert_non_null(strstr(plan.cmdline, " mvm.data=/dev/vdb mvm.upper=/dev/vdc"));
	}
}

/* Plan the start of an instance that has ended, with a root disk over the snapshot's own image. */
static int decide_again(struct world *w, struct start_plan *ret, struct mvm_error *err)
{
	struct record ended = { .own_image = true };
	const struct mvm_start_options cold = { .kind = MVM_START_COLD };
	const struct start_request request = { .revision = &w->revision,
					       .ops = w->ops,
					       .probe = &w->probe,
					       .options = &cold,
					       .again = &ended };
	ended.disks[OWN_DISK_ROOT].present = true;
	return start_decide(&request, ret, err);
}

static void a_snapshots_own_image_is_checked_and_used(void **state)
{
	AUTO_DONE(world) w;
	AUTO_DONE(start_plan) own = { 0 };
	AUTO_DONE(start_plan) again = { 0 };
	struct mvm_error err = { 0 };
	make_world(state, vmm_backends[0], VMM_ACCEL_TCG, &w);
	assert_int_equal(decide_again(&w, &again, &err), -ESTALE);
	put_file(w.snapshot_fd, SNAPSHOT_IMAGE, "another image", 0);
	unlinkat(w.dir_fd, "checksums.json", 0);
	fail_with(store_checksums_write(w.dir_fd, "web", w.revision.rev.revision_hash, NULL, 0,
					NULL, &err),
		  &err);
	checksums_done(&w.revision.sums);
	fail_with(store_checksums_read(w.dir_fd, &w.revision.sums, &err), &err);
	add_key(&w, FACT_OWN_IMAGE "=yes");
	fail_with(decide(&w, 0, 0, &own, &err), &err);
	assert_true(own.restore && own.own_image);
	fail_with(decide_again(&w, &again, &err), &err);
	assert_true(!again.restore && again.own_image);
	start_plan_done(&own);
	start_plan_done(&again);
	put_file(w.snapshot_fd, SNAPSHOT_IMAGE, "Another image", 0);
	assert_int_equal(decide(&w, 0, 0, &own, &err), -EBADMSG);
	assert_int_equal(decide_again(&w, &again, &err), -EBADMSG);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_snapshot_that_was_made_here_is_restored),
		test(each_fact_of_the_snapshot_is_compared),
		test(the_key_of_a_snapshot_has_each_fact_of_its_host),
		test(variables_are_for_a_workload_that_starts_in_the_clone),
		test(an_unknown_dependency_is_a_difference),
		test(boot_args_vcpus_and_mem_mib_of_the_info_must_agree),
		test(a_signed_snapshot_of_another_host_is_restored),
		test(each_change_on_this_host_is_noticed),
		test(no_fact_is_left_out_of_these_tests),
		test(asking_for_another_size_is_a_difference),
		test(another_root_disk_is_a_difference),
		test(a_snapshots_own_image_is_checked_and_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
