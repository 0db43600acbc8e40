/* SPDX-License-Identifier: Apache-2.0 */
/* Restore or boot: everything that a snapshot depends on, changed one by one, and damaged files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "scratch.h"
#include "store/revision.h"
#include "template/facts.h"
#include "template/memory_file.h"
#include "template/start.h"

#define NONCE_HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MEM_SIZE  (64u << 10)
#define OTHER_HEX "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

/* A revision with a snapshot that was made here, by a backend that need not be installed. */
struct world {
	int dir_fd; /* the revision's folder */
	int snapshot_fd;
	const struct vmm_ops *ops;
	struct vmm_probe probe;
	struct revision revision;
};

static void world_done(struct world *w)
{
	(void)close(w->snapshot_fd);
	vmm_probe_done(&w->probe);
	revision_done(&w->revision);
}
DEFINE_AUTO_DONE(world, world_done)

static void fail_with(int r, const struct mvm_error *err)
{
	if (r < 0)
		fail_msg("%s: %s", strerror(-r), err->text);
}

/* size 0: that of the text */
static void put_file(int dir_fd, const char *name, const char *text, off_t size)
{
	(void)unlinkat(dir_fd, name, 0);
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_true(size == 0 || ftruncate(fd, size) == 0);
}

/* What `run` would do. */
static int decide(struct world *w, unsigned vcpus, uint32_t mem_mib, struct start_plan *ret,
		  struct mvm_error *err)
{
	const struct start_request request = {
		.revision = &w->revision,
		.ops = w->ops,
		.probe = &w->probe,
		.vcpus = vcpus,
		.mem_mib = mem_mib,
	};
	return start_decide(&request, ret, err);
}

/* The compat of a snapshot made now: what snapshot.c writes. */
static void describe(struct world *w, struct mvm_strings *ret)
{
	AUTO_DONE(start_plan) plan = { 0 };
	AUTO_DONE(strv) pairs = { 0 };
	AUTO_FREE char *identity = NULL;
	struct mvm_error err = { 0 };
	AUTO_CLOSE int mem_fd = openat(w->snapshot_fd, "mem.bin", O_RDONLY | O_CLOEXEC);

	fail_with(decide(w, 0, 0, &plan, &err), &err);
	for (size_t i = 0; i < plan.facts.n; i++)
		strv_add(&pairs, plan.facts.v[i]);
	assert_int_equal(memory_file_identity(mem_fd, &identity), 0);
	strv_addf(&pairs, FACT_MEM_FILE "=%s", identity);
	strv_add(&pairs, FACT_NONCE "=" NONCE_HEX);
	AUTO_CLOSE int data_fd = openat(w->snapshot_fd, "data.ext4", O_RDONLY | O_CLOEXEC);
	free(TAKE_PTR(identity));
	assert_int_equal(memory_file_identity(data_fd, &identity), 0);
	strv_addf(&pairs, FACT_DATA_FILE "=%s", identity);
	free(w->revision.rev.snapshot.boot_args);
	w->revision.rev.snapshot.boot_args = strdup(plan.cmdline);
	*ret = (struct mvm_strings){ .v = pairs.v, .n = pairs.n };
	pairs = (struct strv){ 0 };
}

/* Files and what revision.json and checksums.json say of them. */
static void fill_folder(struct world *w)
{
	static const char *const files[] = { "vmlinux", "rootfs.ext4", "initrd", "data.ext4",
					     "fc-base.json" };
	struct mvm_template_revision rev = {
		.schema_version = MVM_SCHEMA_VERSION,
		.revision_hash = (char[]){ "00112233445566778899aabbccddeeff" },
		.flake_ref = (char[]){ "dir:/" },
		.flake_lock_hash = (char[]){ "lock" },
		.artifact_paths = { .vmlinux = (char[]){ "vmlinux" },
				    .rootfs = (char[]){ "rootfs.ext4" },
				    .fc_base_config = (char[]){ "fc-base.json" },
				    .initrd = (char[]){ "initrd" } },
		.profile = (char[]){ "minimal" },
		.role = (char[]){ "worker" },
		.vcpus = 1,
		.mem_mib = 128,
		.data_disk_mib = 1,
		.has_snapshot = true,
		.snapshot = { .created_at = 1,
			      .vmstate_size_bytes = strlen("device state"),
			      .mem_size_bytes = MEM_SIZE,
			      .boot_args = (char[]){ "" },
			      .vcpus = 1,
			      .mem_mib = 128 },
	};
	struct mvm_error err = { 0 };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++)
		put_file(w->dir_fd, files[i], files[i], 0);
	(void)tree_remove_at(w->dir_fd, "snapshot");
	w->snapshot_fd = dir_make_at(w->dir_fd, "snapshot");
	assert_true(w->snapshot_fd >= 0);
	put_file(w->snapshot_fd, "vmstate.bin", "device state", 0);
	put_file(w->snapshot_fd, "mem.bin", "memory", MEM_SIZE);
	put_file(w->snapshot_fd, "data.ext4", "frozen disk", 1 << 20);
	(void)unlinkat(w->dir_fd, "checksums.json", 0);
	(void)unlinkat(w->dir_fd, "revision.json", 0);
	fail_with(store_checksums_write(w->dir_fd, "web", rev.revision_hash, NULL, 0, &err), &err);
	fail_with(store_revision_save(w->dir_fd, &rev, &err), &err);
}

static void make_world(void **state, const struct vmm_ops *ops, enum vmm_accel accel,
		       struct world *w)
{
	struct mvm_error err = { 0 };
	*w = (struct world){
		.dir_fd = scratch_fd(state),
		.ops = ops,
		.probe = { .usable = true,
			   .binary = strdup("/usr/bin/vmm"),
			   .binary_digest = strdup(NONCE_HEX),
			   .version = strdup("1.0 (Debian 1)"),
			   .state_format = strdup("3"),
			   .accel = accel,
			   .tsc_khz = 2000000 },
		.revision = REVISION_NONE,
	};
	fill_folder(w);
	fail_with(revision_read(w->dir_fd, "web", &w->revision, &err), &err);
	describe(w, &w->revision.rev.snapshot.compat);
}

static void assert_restores(struct world *w)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	fail_with(decide(w, 0, 0, &plan, &err), &err);
	if (!plan.restore)
		fail_msg("not restored: %s", plan.reason);
	assert_null(plan.reason);
}

/* The first difference: which fact of the two lists it is. */
static void assert_boots(struct world *w, unsigned vcpus, uint32_t mem_mib, const char *theirs,
			 const char *ours, const char *what)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	fail_with(decide(w, vcpus, mem_mib, &plan, &err), &err);
	assert_false(plan.restore);
	assert_non_null(plan.reason);
	AUTO_FREE char *values = str_printf("the snapshot has '%s', here is '%s'", theirs, ours);
	if (!strstr(plan.reason, values))
		fail_msg("%s: %s; and not: %s", what, plan.reason, values);
}

typedef void (*with_world_fn)(struct world *w);

/* The test for every backend and accelerator. */
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
	       str_starts(pair, FACT_NONCE "=");
}

/* Each key that the snapshot has, whichever there are: another value, and no value. */
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

static void unknown_keys_count(struct world *w)
{
	struct mvm_strings *compat = &w->revision.rev.snapshot.compat;
	char **more = calloc(compat->n + 1, sizeof(*more));
	char **old = compat->v;
	assert_non_null(more);
	memcpy(more, old, compat->n * sizeof(*more));
	more[compat->n++] = strdup("firmware=7");
	compat->v = more;
	free(old);
	assert_boots(w, 0, 0, "7", "nothing", "firmware");
}

static void a_dependency_that_this_version_does_not_know_is_a_difference(void **state)
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

/* What there is here, changed: each fact that gets another value through one of these. */

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
	{ "devices", no_network },	  { "devices", no_data_disk },
	{ "vmlinux", other_kernel },	  { "rootfs", other_rootfs },
	{ "initrd", other_initrd },	  { "data_disk", other_data_disk },
	{ "backend", other_backend },	  { "machine", other_accelerator },
};

/* What one process cannot have otherwise; test_snapshots.py changes the host. */
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

/* One change: the plan's reason is the first fact, in their order, that is another. */
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
		AUTO_FREE char *says = str_printf("has '%s', here is '%s'",
						  theirs ? theirs : "nothing", ours);
		if (!strstr(plan.reason, says))
			fail_msg("%s, %s: '%s' does not say: %s", w->ops->name, c->what,
				 plan.reason, says);
		return;
	}
	/* what is gone here */
	if (!strstr(plan.reason, "here is 'nothing'"))
		fail_msg("%s, %s: %s", w->ops->name, c->what, plan.reason);
}

/* Did the change give the fact another value? */
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

static void each_change_of_what_is_here_is_noticed(void **state)
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

/* Damage ----------------------------------------------------------------------------------------
 */

static void assert_damaged(struct world *w, const char *says)
{
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	assert_int_equal(decide(w, 0, 0, &plan, &err), -EBADMSG);
	if (!strstr(err.text, says))
		fail_msg("'%s' does not say '%s'", err.text, says);
	assert_non_null(err.hint);
}

static void cut(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(ftruncate(file, st.st_size - 1), 0);
}

static void lengthen(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(file, &st), 0);
	assert_int_equal(ftruncate(file, st.st_size + 4096), 0);
}

static void flip(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	char byte;
	assert_int_equal(pread(file, &byte, 1, 3), 1);
	byte ^= 4;
	assert_int_equal(pwrite(file, &byte, 1, 3), 1);
}

static void punch(int fd, const char *path)
{
	AUTO_CLOSE int file = openat(fd, path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4), 0);
}

static void take_another(int fd, const char *path)
{
	AUTO_CLOSE int old = openat(fd, path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(old, &st), 0);
	put_file(fd, "another", "another", st.st_size);
	assert_int_equal(renameat(fd, "another", fd, path), 0);
}

static void lose(int fd, const char *path)
{
	assert_int_equal(unlinkat(fd, path, 0), 0);
}

static void make_a_link(int fd, const char *path)
{
	assert_int_equal(renameat(fd, path, fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", fd, path), 0);
}

static void damaged_files_are_found_before_anything_starts(void **state)
{
	static void (*const harms[])(int fd, const char *path) = { cut,	  lengthen,	flip,
								   punch, take_another, lose };
	static const char *const files[] = { "vmstate.bin", "mem.bin", "data.ext4" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(harms); i++) {
		for (size_t k = 0; k < MVM_ARRAY_SIZE(files); k++) {
			AUTO_DONE(world) w;
			make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
			harms[i](w.snapshot_fd, files[k]);
			assert_damaged(&w, harms[i] == lose ? "missing" : files[k]);
		}
	}
}

static void a_link_is_no_file_of_a_snapshot(void **state)
{
	AUTO_DONE(world) w;
	AUTO_DONE(start_plan) plan = { 0 };
	struct mvm_error err = { 0 };
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	make_a_link(w.snapshot_fd, "mem.bin");
	assert_true(decide(&w, 0, 0, &plan, &err) < 0);
	assert_non_null(strstr(err.text, "mem.bin"));
}

static void the_files_of_one_snapshot_do_not_go_with_another(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	assert_int_equal(renameat(w.snapshot_fd, "mem.bin", w.snapshot_fd, "x"), 0);
	assert_int_equal(renameat(w.snapshot_fd, "vmstate.bin", w.snapshot_fd, "mem.bin"), 0);
	assert_int_equal(renameat(w.snapshot_fd, "x", w.snapshot_fd, "vmstate.bin"), 0);
	assert_damaged(&w, "vmstate.bin");
}

static void sizes_that_the_info_does_not_have_are_damage(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	w.revision.rev.snapshot.mem_size_bytes++;
	assert_damaged(&w, "mem.bin");
	w.revision.rev.snapshot.mem_size_bytes--;
	w.revision.rev.snapshot.vmstate_size_bytes--;
	assert_damaged(&w, "vmstate.bin");
}

static void the_same_bytes_in_another_file_are_the_same_memory(void **state)
{
	AUTO_DONE(world) w;
	make_world(state, vmm_backends[1], VMM_ACCEL_TCG, &w);
	put_file(w.snapshot_fd, "copy", "memory", MEM_SIZE);
	assert_int_equal(renameat(w.snapshot_fd, "copy", w.snapshot_fd, "mem.bin"), 0);
	assert_restores(&w);
}

#define test(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_snapshot_that_was_made_here_is_restored),
		test(each_fact_of_the_snapshot_is_compared),
		test(a_dependency_that_this_version_does_not_know_is_a_difference),
		test(boot_args_vcpus_and_mem_mib_of_the_info_must_agree),
		test(each_change_of_what_is_here_is_noticed),
		test(no_fact_is_left_out_of_these_tests),
		test(asking_for_another_size_is_a_difference),
		test(damaged_files_are_found_before_anything_starts),
		test(a_link_is_no_file_of_a_snapshot),
		test(the_files_of_one_snapshot_do_not_go_with_another),
		test(sizes_that_the_info_does_not_have_are_damage),
		test(the_same_bytes_in_another_file_are_the_same_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
