/* SPDX-License-Identifier: Apache-2.0 */

/* Specs, revisions, snapshots and kinds as JSON, and the hashes made from them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "codec/sha256.h"
#include "model/model_json.h"

#define MEMBERS                                                                                    \
	"\"revision_hash\":\"abc\",\"flake_ref\":\".\",\"flake_lock_hash\":\"lock1\","             \
	"\"artifact_paths\":{\"vmlinux\":\"vmlinux\",\"rootfs\":\"rootfs.ext4\","                  \
	"\"fc_base_config\":\"fc-base.json\"},\"built_at\":\"2025-01-01T00:00:00Z\","              \
	"\"profile\":\"minimal\",\"role\":\"worker\",\"vcpus\":2,\"mem_mib\":1024,"                \
	"\"data_disk_mib\":0"

static const char minimal[] = "{" MEMBERS "}";

static int parse(const char *text, struct mvm_template_revision *ret, struct mvm_error *err)
{
	return mvm_template_revision_parse(text, strlen(text), "revision.json", ret, err);
}

static void cache_key(const char *lock, const char *profile, const char *role,
		      char ret[MVM_CACHE_KEY_SIZE])
{
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	assert_int_equal(parse(minimal, &rev, NULL), 0);
	free(rev.flake_lock_hash);
	free(rev.profile);
	free(rev.role);
	rev.flake_lock_hash = strdup(lock);
	rev.profile = strdup(profile);
	rev.role = strdup(role);
	mvm_template_revision_cache_key(&rev, ret);
}

static void same_inputs_same_cache_key(void **state)
{
	(void)state;
	char a[MVM_CACHE_KEY_SIZE], b[MVM_CACHE_KEY_SIZE];
	cache_key("lock1", "minimal", "worker", a);
	cache_key("lock1", "minimal", "worker", b);
	assert_string_equal(a, b);
	assert_string_equal(a, "c2d559a37bda0c3c18e0d02c6e2294a1d0caa177b334e95af6e6210ca7af33fc");
}

static void different_profile_role_or_flake_different_cache_key(void **state)
{
	(void)state;
	char keys[4][MVM_CACHE_KEY_SIZE];
	cache_key("lock1", "minimal", "worker", keys[0]);
	cache_key("lock1", "full", "worker", keys[1]);
	cache_key("lock1", "minimal", "gateway", keys[2]);
	cache_key("lock2", "minimal", "worker", keys[3]);
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	}
}

static void cache_key_depends_on_flake_lock_not_revision_hash(void **state)
{
	(void)state;
	char a[MVM_CACHE_KEY_SIZE], b[MVM_CACHE_KEY_SIZE];
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	assert_int_equal(parse(minimal, &rev, NULL), 0);
	mvm_template_revision_cache_key(&rev, a);
	free(rev.revision_hash);
	rev.revision_hash = strdup("zzz");
	mvm_template_revision_cache_key(&rev, b);
	assert_string_equal(a, b);
}

#define SNAPSHOT                                                                                   \
	"{\"created_at\":\"2025-03-01T00:00:00Z\",\"vmstate_size_bytes\":1024,"                    \
	"\"mem_size_bytes\":1048576,\"boot_args\":\"root=/dev/vda rw init=/init console=ttyS0\","  \
	"\"vcpus\":2,\"mem_mib\":512}"

static void snapshot_info_roundtrip(void **state)
{
	(void)state;
	AUTO_DONE(mvm_snapshot_info) a = { 0 }, b = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(mvm_snapshot_info_parse(SNAPSHOT, strlen(SNAPSHOT), "s", &a, NULL), 0);
	assert_int_equal(mvm_snapshot_info_format(&a, &text, NULL), 0);
	assert_int_equal(mvm_snapshot_info_parse(text, strlen(text), "s", &b, NULL), 0);
	assert_int_equal(b.vcpus, 2);
	assert_int_equal(b.mem_mib, 512);
	assert_int_equal(b.vmstate_size_bytes, 1024);
	assert_int_equal(b.mem_size_bytes, 1048576);
	assert_string_equal(b.boot_args, "root=/dev/vda rw init=/init console=ttyS0");
	assert_int_equal(b.created_at, a.created_at);
	assert_null(b.compat.v);
}

static void revision_without_snapshot_is_read(void **state)
{
	(void)state;
	static const char *const texts[] = { minimal, "{" MEMBERS ",\"snapshot\":null}" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(texts); i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		assert_int_equal(parse(texts[i], &rev, NULL), 0);
		assert_false(rev.has_snapshot);
		assert_int_equal(rev.schema_version, 1);
		assert_false(rev.artifact_paths.sizes.present);
		assert_null(rev.artifact_paths.initrd);
	}
}

static void revision_with_snapshot_is_read(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_revision) rev = { 0 }, back = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(parse("{" MEMBERS ",\"snapshot\":" SNAPSHOT "}", &rev, NULL), 0);
	assert_int_equal(mvm_template_revision_format(&rev, &text, NULL), 0);
	assert_int_equal(parse(text, &back, NULL), 0);
	assert_true(back.has_snapshot);
	assert_int_equal(back.snapshot.mem_size_bytes, 1048576);
}

static void a_revision_is_written_in_the_seeds_order(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(parse(minimal, &rev, NULL), 0);
	assert_int_equal(mvm_template_revision_format(&rev, &text, NULL), 0);
	assert_string_equal(text, "{\n"
				  "  \"schema_version\": 1,\n"
				  "  \"revision_hash\": \"abc\",\n"
				  "  \"flake_ref\": \".\",\n"
				  "  \"flake_lock_hash\": \"lock1\",\n"
				  "  \"artifact_paths\": {\n"
				  "    \"vmlinux\": \"vmlinux\",\n"
				  "    \"rootfs\": \"rootfs.ext4\",\n"
				  "    \"fc_base_config\": \"fc-base.json\"\n"
				  "  },\n"
				  "  \"built_at\": \"2025-01-01T00:00:00Z\",\n"
				  "  \"profile\": \"minimal\",\n"
				  "  \"role\": \"worker\",\n"
				  "  \"vcpus\": 2,\n"
				  "  \"mem_mib\": 1024,\n"
				  "  \"data_disk_mib\": 0,\n"
				  "  \"snapshot\": null\n"
				  "}\n");
}

static const char full[] = "{\n"
			   "  \"schema_version\": 1,\n"
			   "  \"revision_hash\": \"abc\",\n"
			   "  \"flake_ref\": \"dir:/x\",\n"
			   "  \"flake_lock_hash\": \"lock1\",\n"
			   "  \"artifact_paths\": {\n"
			   "    \"vmlinux\": \"vmlinux\",\n"
			   "    \"rootfs\": \"rootfs.ext4\",\n"
			   "    \"fc_base_config\": \"fc-base.json\",\n"
			   "    \"initrd\": \"initrd\",\n"
			   "    \"sizes\": {\n"
			   "      \"vmlinux_bytes\": 1,\n"
			   "      \"rootfs_bytes\": 2,\n"
			   "      \"initrd_bytes\": 3,\n"
			   "      \"nix_closure_bytes\": 4,\n"
			   "      \"later\": 5\n"
			   "    },\n"
			   "    \"later\": true\n"
			   "  },\n"
			   "  \"built_at\": \"2025-01-01T00:00:00Z\",\n"
			   "  \"profile\": \"minimal\",\n"
			   "  \"role\": \"worker\",\n"
			   "  \"vcpus\": 2,\n"
			   "  \"mem_mib\": 1024,\n"
			   "  \"data_disk_mib\": 0,\n"
			   "  \"snapshot\": {\n"
			   "    \"created_at\": \"2025-03-01T00:00:00Z\",\n"
			   "    \"vmstate_size_bytes\": 512,\n"
			   "    \"mem_size_bytes\": 2048,\n"
			   "    \"boot_args\": \"console=ttyS0\",\n"
			   "    \"vcpus\": 2,\n"
			   "    \"mem_mib\": 1024,\n"
			   "    \"compat\": {\n"
			   "      \"backend\": \"qemu\",\n"
			   "      \"accel\": \"tcg\"\n"
			   "    },\n"
			   "    \"later\": []\n"
			   "  },\n"
			   "  \"run\": {\n"
			   "    \"command\": [\n"
			   "      \"/bin/sh\"\n"
			   "    ],\n"
			   "    \"env\": {\n"
			   "      \"Z\": \"1\",\n"
			   "      \"A\": \"\"\n"
			   "    },\n"
			   "    \"workdir\": \"/srv\",\n"
			   "    \"user\": \"1000:1000\",\n"
			   "    \"network\": \"none\",\n"
			   "    \"kernel\": \"debian-6.1\",\n"
			   "    \"boot_args\": \"quiet\",\n"
			   "    \"health\": {\n"
			   "      \"exec\": [\n"
			   "        \"/bin/true\"\n"
			   "      ],\n"
			   "      \"interval_ms\": 100,\n"
			   "      \"timeout_s\": 5,\n"
			   "      \"later\": null\n"
			   "    },\n"
			   "    \"on_restore\": [\n"
			   "      \"/bin/reload\"\n"
			   "    ],\n"
			   "    \"later\": \"x\"\n"
			   "  },\n"
			   "  \"build\": {\n"
			   "    \"builder\": \"dir\",\n"
			   "    \"source_fingerprint\": \"f\",\n"
			   "    \"attribute\": \"a\",\n"
			   "    \"mvm_version\": \"0.1.0\",\n"
			   "    \"later\": {}\n"
			   "  },\n"
			   "  \"later\": {\n"
			   "    \"k\": 1.5\n"
			   "  }\n"
			   "}\n";

static void sizes_that_are_not_known_are_zero_or_left_out(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(parse(minimal, &rev, NULL), 0);
	rev.artifact_paths.sizes.present = true;
	assert_int_equal(mvm_template_revision_format(&rev, &text, NULL), 0);
	assert_non_null(strstr(text, "\"sizes\": {\n"
				     "      \"vmlinux_bytes\": 0,\n"
				     "      \"rootfs_bytes\": 0\n"
				     "    }\n"));
}

static void everything_known_and_unknown_survives_a_rewrite(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(parse(full, &rev, NULL), 0);
	assert_int_equal(mvm_template_revision_format(&rev, &text, NULL), 0);
	assert_string_equal(text, full);
	assert_string_equal(mvm_snapshot_info_compat(&rev.snapshot, "accel"), "tcg");
	assert_null(mvm_snapshot_info_compat(&rev.snapshot, "acc"));
}

static void the_initrd_is_written_when_it_is_the_images(void **state)
{
	(void)state;
	static const struct {
		const char *run;
		bool written;
	} cases[] = {
		{ "{\"initrd\":\"image\"}", true },
		{ "{\"initrd\":\"mvm\"}", false },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		AUTO_FREE char *text = str_printf("{" MEMBERS ",\"run\":%s}", cases[i].run);
		AUTO_FREE char *again = NULL;
		assert_int_equal(parse(text, &rev, NULL), 0);
		assert_int_equal(mvm_run_empty(&rev.run), !cases[i].written);
		assert_int_equal(mvm_template_revision_format(&rev, &again, NULL), 0);
		bool written = strstr(again, "\"initrd\": \"image\"") != NULL;
		assert_int_equal(written, cases[i].written);
		assert_null(strstr(again, "\"mvm\""));
	}
}

static void the_snapshots_point_and_an_action_are_written_as_they_are_read(void **state)
{
	(void)state;
	static const char *const runs[] = {
		"\"run\": {\n    \"on_restore\": \"signal:USR1\"\n  }",
		"\"run\": {\n    \"snapshot\": {\n      \"point\": \"boot\"\n    }\n  }",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(runs); i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		AUTO_FREE char *text = str_printf("{" MEMBERS ",%s}", runs[i]);
		AUTO_FREE char *again = NULL;
		assert_int_equal(parse(text, &rev, NULL), 0);
		assert_false(mvm_run_empty(&rev.run));
		assert_int_equal(mvm_template_revision_format(&rev, &again, NULL), 0);
		assert_non_null(strstr(again, runs[i]));
	}
}

static void damaged_revisions_name_file_and_key(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
		int code;
	} cases[] = {
		{ "[]", "revision.json: expected an object, not an array", -EBADMSG },
		{ "{\"schema_version\":2," MEMBERS "}",
		  "revision.json: written by a newer mvm (schema version 2; this mvm knows 1)",
		  -EOPNOTSUPP },
		{ "{}", "revision.json: revision_hash: is missing", -EBADMSG },
		{ "{" MEMBERS ",\"snapshot\":{}}", "revision.json: snapshot.created_at: is missing",
		  -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"network\":\"x\"}}",
		  "revision.json: run.network: expected \"none\" or \"user\"", -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"initrd\":\"x\"}}",
		  "revision.json: run.initrd: expected \"mvm\" or \"image\"", -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"initrd\":\"image\",\"on_restore\":[\"/bin/x\"]}}",
		  "revision.json: run.on_restore: needs mvm's agent, which initrd = \"image\" "
		  "boots "
		  "without",
		  -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"snapshot\":{\"point\":\"x\"}}}",
		  "revision.json: run.snapshot.point: expected \"boot\" or \"healthy\"", -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"on_restore\":\"x\"}}",
		  "revision.json: run.on_restore: is neither \"restart\" nor \"signal:\" and a "
		  "signal, as in signal:USR1",
		  -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"kernel\":\"../x\"}}",
		  "revision.json: run.kernel: expected the name of a kernel: 1 to 63 of A-Z a-z "
		  "0-9 "
		  ". _ -",
		  -EBADMSG },
		{ "{" MEMBERS ",\"run\":{\"health\":{\"tcp\":0}}}",
		  "revision.json: run.health.tcp: expected a whole number from 1 to 65535",
		  -EBADMSG },
		{ "{\"revision_hash\":\"../x\"}",
		  "revision.json: revision_hash: '../x': use 1 to 64 of a-z 0-9", -EBADMSG },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(parse(cases[i].text, &rev, &err), cases[i].code);
		assert_string_equal(err.text, cases[i].says);
		assert_null(rev.revision_hash);
	}
}

static void a_health_url_that_the_guest_refuses_stays_readable(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_revision) rev = { 0 };
	assert_int_equal(parse("{" MEMBERS
			       ",\"run\":{\"health\":{\"http\":\"http://example.com/\"}}}",
			       &rev, NULL),
			 0);
	assert_string_equal(rev.run.health.http, "http://example.com/");
}

static void template_kind_image_roundtrip(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_kind) kind = { .is_snapshot = true };
	AUTO_FREE char *text = NULL;
	assert_int_equal(mvm_template_kind_parse("\"Image\"", 7, "kind", &kind, NULL), 0);
	assert_false(kind.is_snapshot);
	assert_int_equal(mvm_template_kind_format(&kind, &text, NULL), 0);
	assert_string_equal(text, "\"Image\"\n");
}

static void template_kind_snapshot_roundtrip(void **state)
{
	(void)state;
	static const char tagged[] = "{\"Snapshot\":" SNAPSHOT "}";
	AUTO_DONE(mvm_template_kind) kind = { 0 }, back = { 0 };
	AUTO_FREE char *text = NULL;
	assert_int_equal(mvm_template_kind_parse(tagged, strlen(tagged), "kind", &kind, NULL), 0);
	assert_true(kind.is_snapshot);
	assert_int_equal(mvm_template_kind_format(&kind, &text, NULL), 0);
	assert_true(str_starts(text, "{\n  \"Snapshot\": {\n    \"created_at\""));
	assert_int_equal(mvm_template_kind_parse(text, strlen(text), "kind", &back, NULL), 0);
	assert_int_equal(back.snapshot.mem_mib, 512);
}

static void other_kinds_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "\"image\"", "{}", "{\"Snapshot\":null}",
					   "{\"Snapshot\":" SNAPSHOT ",\"x\":1}", "1" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		AUTO_DONE(mvm_template_kind) kind = { 0 };
		assert_int_equal(
			mvm_template_kind_parse(bad[i], strlen(bad[i]), "kind", &kind, NULL),
			-EBADMSG);
	}
}

static void the_kind_depends_on_the_backend(void **state)
{
	(void)state;
	static const struct {
		const char *text, *backend;
		bool snapshots, is_snapshot;
	} cases[] = {
		{ minimal, "qemu", true, false },
		{ full, "qemu", true, true },
		{ full, "qemu", false, false },
		{ full, "firecracker", true, false },
		{ "{" MEMBERS ",\"snapshot\":" SNAPSHOT "}", "firecracker", true, true },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_revision) rev = { 0 };
		AUTO_DONE(mvm_template_kind) kind = { 0 };
		assert_int_equal(parse(cases[i].text, &rev, NULL), 0);
		assert_int_equal(mvm_template_kind_of(&rev, cases[i].backend, cases[i].snapshots,
						      &kind, NULL),
				 0);
		assert_int_equal(kind.is_snapshot, cases[i].is_snapshot);
	}
}

static void a_spec_survives_a_rewrite(void **state)
{
	(void)state;
	static const char text[] = "{\n"
				   "  \"schema_version\": 1,\n"
				   "  \"template_id\": \"web\",\n"
				   "  \"flake_ref\": \".\",\n"
				   "  \"profile\": \"minimal\",\n"
				   "  \"role\": \"worker\",\n"
				   "  \"vcpus\": 0,\n"
				   "  \"mem_mib\": 1024,\n"
				   "  \"data_disk_mib\": 0,\n"
				   "  \"created_at\": \"2025-01-01T00:00:00Z\",\n"
				   "  \"updated_at\": \"2025-01-01T00:00:00Z\",\n"
				   "  \"later\": 1\n"
				   "}\n";
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	AUTO_FREE char *back = NULL;
	assert_int_equal(mvm_template_spec_parse(text, strlen(text), "template.json", &spec, NULL),
			 0);
	assert_int_equal(mvm_template_spec_format(&spec, &back, NULL), 0);
	assert_string_equal(back, text);

	struct mvm_error err = { 0 };
	assert_int_equal(mvm_machine_check(spec.vcpus, spec.mem_mib, &err), -EINVAL);
	assert_string_equal(err.text, "0 vCPUs: a machine needs 1 to 32");
	assert_int_equal(mvm_machine_check(2, 95, &err), -EINVAL);
	assert_int_equal(mvm_machine_check(32, 96, &err), 0);
}

static void times_are_written_as_utc_seconds(void **state)
{
	(void)state;
	static const char text[] = "{\"template_id\":\"web\",\"flake_ref\":\".\",\"profile\":\"p\","
				   "\"role\":\"r\",\"vcpus\":1,\"mem_mib\":1,\"data_disk_mib\":0,"
				   "\"created_at\":\"2025-01-01T02:00:00.123456+02:00\","
				   "\"updated_at\":\"2025-01-01T00:00:00Z\"}";
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	assert_int_equal(mvm_template_spec_parse(text, strlen(text), "template.json", &spec, NULL),
			 0);
	assert_int_equal(spec.created_at, spec.updated_at);
}

static void revision_hash_depends_on_what_the_revision_is(void **state)
{
	(void)state;
	struct mvm_digest one, two;
	sha256_buf("1", 1, &one);
	sha256_buf("2", 1, &two);
	const struct mvm_artifact ab[] = { { "vmlinux", one }, { "rootfs", two } };
	const struct mvm_artifact ba[] = { { "rootfs", two }, { "vmlinux", one } };
	struct mvm_revision_inputs in = { ab, 2, "minimal", "worker", 2, 512, 0, 0, NULL };
	char first[MVM_REVISION_HASH_SIZE], other[MVM_REVISION_HASH_SIZE];
	assert_int_equal(mvm_revision_hash(&in, first, NULL), 0);
	assert_int_equal(strlen(first), 32);
	assert_true(mvm_revision_valid(first));

	/* the documented text, hashed by hand */
	char hex1[DIGEST_HEX_SIZE], hex2[DIGEST_HEX_SIZE], expected[DIGEST_HEX_SIZE];
	digest_hex(&one, hex1);
	digest_hex(&two, hex2);
	AUTO_FREE char *text = str_printf(
		"{\"artifacts\":{\"rootfs\":\"%s\",\"vmlinux\":\"%s\"},\"data_disk_mib\":0,"
		"\"mem_mib\":512,\"profile\":\"minimal\",\"role\":\"worker\",\"vcpus\":2}",
		hex2, hex1);
	struct mvm_digest d;
	sha256_buf(text, strlen(text), &d);
	digest_hex(&d, expected);
	assert_memory_equal(first, expected, 32);

	in.artifacts = ba;
	assert_int_equal(mvm_revision_hash(&in, other, NULL), 0);
	assert_string_equal(first, other);
	in.mem_mib = 513;
	assert_int_equal(mvm_revision_hash(&in, other, NULL), 0);
	assert_string_not_equal(first, other);
	in.mem_mib = 512;
	in.root_disk_mib = 64;
	assert_int_equal(mvm_revision_hash(&in, other, NULL), 0);
	assert_string_not_equal(first, other);
	in.root_disk_mib = 0;
	const struct mvm_run run = { .network = MVM_NETWORK_NONE };
	in.run = &run;
	assert_int_equal(mvm_revision_hash(&in, other, NULL), 0);
	assert_string_not_equal(first, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_inputs_same_cache_key),
		cmocka_unit_test(different_profile_role_or_flake_different_cache_key),
		cmocka_unit_test(cache_key_depends_on_flake_lock_not_revision_hash),
		cmocka_unit_test(snapshot_info_roundtrip),
		cmocka_unit_test(revision_without_snapshot_is_read),
		cmocka_unit_test(revision_with_snapshot_is_read),
		cmocka_unit_test(a_revision_is_written_in_the_seeds_order),
		cmocka_unit_test(sizes_that_are_not_known_are_zero_or_left_out),
		cmocka_unit_test(everything_known_and_unknown_survives_a_rewrite),
		cmocka_unit_test(the_initrd_is_written_when_it_is_the_images),
		cmocka_unit_test(the_snapshots_point_and_an_action_are_written_as_they_are_read),
		cmocka_unit_test(damaged_revisions_name_file_and_key),
		cmocka_unit_test(a_health_url_that_the_guest_refuses_stays_readable),
		cmocka_unit_test(template_kind_image_roundtrip),
		cmocka_unit_test(template_kind_snapshot_roundtrip),
		cmocka_unit_test(other_kinds_are_refused),
		cmocka_unit_test(the_kind_depends_on_the_backend),
		cmocka_unit_test(a_spec_survives_a_rewrite),
		cmocka_unit_test(times_are_written_as_utc_seconds),
		cmocka_unit_test(revision_hash_depends_on_what_the_revision_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
