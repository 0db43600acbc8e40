/* SPDX-License-Identifier: Apache-2.0 */

/* instance.json: writing it, reading it, and reading the files of older versions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "instance/record.h"
#include "scratch.h"

/* a record of an older supervisor plus an unknown last member; a rewrite keeps it unchanged */
static const char full[] = "{\n"
			   "  \"schema_version\": 1,\n"
			   "  \"name\": \"rec\",\n"
			   "  \"template_id\": \"http-worker\",\n"
			   "  \"revision_hash\": \"8e09f99e74a7162c4dbf2bdc68bbe9a6\",\n"
			   "  \"state\": \"running\",\n"
			   "  \"start\": \"restore\",\n"
			   "  \"reason\": \"why\",\n"
			   "  \"from_pool\": false,\n"
			   "  \"backend\": \"qemu\",\n"
			   "  \"backend_version\": \"7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\",\n"
			   "  \"accelerator\": \"tcg\",\n"
			   "  \"vcpus\": 1,\n"
			   "  \"mem_mib\": 256,\n"
			   "  \"memory\": \"sparse\",\n"
			   "  \"data_disk\": {\n"
			   "    \"size_mib\": 512,\n"
			   "    \"copy\": \"reflink\"\n"
			   "  },\n"
			   "  \"root_disk\": {\n"
			   "    \"size_mib\": 4096,\n"
			   "    \"copy\": \"sparse\"\n"
			   "  },\n"
			   "  \"volumes\": [\n"
			   "    {\n"
			   "      \"host\": \"/srv/data\",\n"
			   "      \"guest\": \"/k\",\n"
			   "      \"name\": \"vol\",\n"
			   "      \"write_back\": true\n"
			   "    },\n"
			   "    {\n"
			   "      \"host\": \"/a\",\n"
			   "      \"guest\": \"/b\",\n"
			   "      \"write_back\": false,\n"
			   "      \"kind\": \"file\"\n"
			   "    }\n"
			   "  ],\n"
			   "  \"forwards\": [\n"
			   "    {\n"
			   "      \"protocol\": \"tcp\",\n"
			   "      \"host_address\": \"127.0.0.1\",\n"
			   "      \"host_port\": 33503,\n"
			   "      \"guest_port\": 8080\n"
			   "    }\n"
			   "  ],\n"
			   "  \"env\": [\n"
			   "    \"A=1\",\n"
			   "    \"B=\"\n"
			   "  ],\n"
			   "  \"hostname\": \"rec\",\n"
			   "  \"machine_id\": \"809d8612ea754559a3cc5f16016179b9\",\n"
			   "  \"created_at\": \"2026-11-23T22:22:22Z\",\n"
			   "  \"started_at\": \"2026-11-23T22:22:22Z\",\n"
			   "  \"ended_at\": null,\n"
			   "  \"supervisor_pid\": 24901,\n"
			   "  \"vmm_pid\": 24902,\n"
			   "  \"agent\": false,\n"
			   "  \"attached\": false,\n"
			   "  \"held\": true,\n"
			   "  \"folder_inode\": 77,\n"
			   "  \"purpose\": \"user\",\n"
			   "  \"boot_args\": \"console=ttyS0\",\n"
			   "  \"stages_ns\": {\n"
			   "    \"spawn\": 62638453,\n"
			   "    \"load\": 69164825,\n"
			   "    \"resume\": 69164825,\n"
			   "    \"agent\": 132006510\n"
			   "  },\n"
			   "  \"error\": \"bad\",\n"
			   "  \"health\": \"starting\",\n"
			   "  \"health_message\": \"refused\",\n"
			   "  \"workload_ended\": true,\n"
			   "  \"exit_code\": 3,\n"
			   "  \"restart\": \"always\",\n"
			   "  \"restart_max\": 4,\n"
			   "  \"restart_on_failure\": true,\n"
			   "  \"keep_running\": true,\n"
			   "  \"restarts\": 0,\n"
			   "  \"ttl_ms\": 3600000,\n"
			   "  \"expires_at\": \"2026-11-23T23:22:22Z\",\n"
			   "  \"remove_at_end\": false,\n"
			   "  \"log_max_bytes\": 0,\n"
			   "  \"isolation\": \"user syscalls\",\n"
			   "  \"cgroup\": \"/a/b\",\n"
			   "  \"cgroup_limits\": \"memory cpu\",\n"
			   "  \"boot_id\": \"6424de7d-45db-4391-82b1-0924224bf53b\",\n"
			   "  \"later\": {\n"
			   "    \"k\": 1.5\n"
			   "  }\n"
			   "}\n";

/* the members that every record has */
#define MEMBERS                                                                                    \
	"\"name\":\"a\",\"template_id\":\"t\",\"revision_hash\":\"r\",\"state\":\"running\","      \
	"\"backend\":\"qemu\",\"vcpus\":1,\"mem_mib\":96,\"forwards\":[],\"created_at\":\"\","     \
	"\"attached\":false,\"purpose\":\"user\",\"boot_args\":\"\",\"health\":\"none\","          \
	"\"restarts\":0,"                                                                          \
	"\"ttl_ms\":0,\"remove_at_end\":false,\"log_max_bytes\":0"

static int parse(const char *text, struct record *ret, struct mvm_error *err)
{
	return record_parse(text, strlen(text), ret, err);
}

static void everything_known_and_unknown_survives_a_rewrite(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(parse(full, &rec, NULL), 0);
	AUTO_FREE char *text = record_to_json(&rec);
	assert_string_equal(text, full);
	assert_int_equal(rec.volumes[0].write_back, true);
	assert_int_equal(rec.volumes[0].kind, RECORD_VOLUME_UNKNOWN);
	assert_int_equal(rec.volumes[1].kind, RECORD_VOLUME_FILE);
	assert_string_equal(rec.volumes[0].name, "vol");
	assert_int_equal(rec.disks[OWN_DISK_DATA].size_mib, 512);
	assert_true(rec.disks[OWN_DISK_DATA].reflinked && rec.no_agent && rec.restore);
	assert_int_equal(rec.disks[OWN_DISK_ROOT].size_mib, 4096);
	assert_false(rec.disks[OWN_DISK_ROOT].reflinked);
	assert_int_equal(rec.restart, RECORD_RESTART_ALWAYS);
	assert_int_equal(rec.stages[3].ns, 132006510);
}

static void labels_are_an_object(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(
		parse("{\"start\":\"boot\",\"labels\":{\"tier\":\"web\",\"b\":\"\"}," MEMBERS "}",
		      &rec, NULL),
		0);
	assert_int_equal(rec.labels.n, 2);
	assert_string_equal(rec.labels.v[0], "tier=web");
	assert_string_equal(rec.labels.v[1], "b=");
	assert_null(rec.labels.v[2]); /* whoever starts it again relies on the end */
	AUTO_FREE char *text = record_to_json(&rec);
	assert_non_null(
		strstr(text, "\"labels\": {\n    \"tier\": \"web\",\n    \"b\": \"\"\n  }"));
}

static void one_with_a_disk_boots_next(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(parse(full, &rec, NULL), 0);
	record_boot_next(&rec);
	assert_false(rec.restore);
	assert_int_equal(rec.memory, RECORD_MEMORY_OWN);
	assert_string_equal(rec.reason, "its disk has changed since the snapshot");
	rec.restore = true;
	rec.disks[OWN_DISK_DATA].present = rec.disks[OWN_DISK_ROOT].present = false;
	record_boot_next(&rec);
	assert_true(rec.restore);
}

static void unknown_values_are_null_or_left_out(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(parse("{\"start\":\"boot\"," MEMBERS "}", &rec, NULL), 0);
	AUTO_FREE char *text = record_to_json(&rec);
	static const char *const there[] = { "\"exit_code\": null", "\"hostname\": null",
					     "\"agent\": true", "\"stages_ns\": {}",
					     "\"vmm_pid\": 0" };
	static const char *const not_there[] = {
		"data_disk", "root_disk", "volumes",	  "env",
		"labels",    "held",	  "folder_inode", "usage"
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(there); i++)
		assert_non_null(strstr(text, there[i]));
	for (size_t i = 0; i < MVM_ARRAY_SIZE(not_there); i++)
		assert_null(strstr(text, not_there[i]));
}

static void records_of_older_versions_are_understood(void **state)
{
	(void)state;
	static const struct {
		const char *start, *on_failure;
		enum record_memory memory;
		enum record_restart restart;
	} cases[] = {
		{ "boot", "false", RECORD_MEMORY_OWN, RECORD_RESTART_NO },
		{ "restore", "true", RECORD_MEMORY_SHARED, RECORD_RESTART_ON_FAILURE },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(record) rec = { 0 };
		AUTO_FREE char *text = str_printf(
			"{\"start\":\"%s\",\"restart_on_failure\":%s," MEMBERS "}", cases[i].start,
			cases[i].on_failure);
		assert_int_equal(parse(text, &rec, NULL), 0);
		assert_int_equal(rec.memory, cases[i].memory);
		assert_int_equal(rec.restart, cases[i].restart);
	}
}

static void usage_is_written_and_not_read(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 }, back = { 0 };
	assert_int_equal(parse(full, &rec, NULL), 0);
	rec.has_usage = true;
	rec.usage = (struct usage){ .cpu_ns = 1, .disk_bytes = 5 };
	AUTO_FREE char *text = record_to_json(&rec);
	assert_non_null(strstr(text, "  \"usage\": {\n"
				     "    \"cpu_ns\": 1,\n"
				     "    \"memory_private_bytes\": 0,\n"
				     "    \"memory_shared_bytes\": 0,\n"
				     "    \"supervisor_private_bytes\": 0,\n"
				     "    \"disk_bytes\": 5\n"
				     "  }"));
	assert_int_equal(parse(text, &back, NULL), 0);
	assert_false(back.has_usage);
	AUTO_FREE char *again = record_to_json(&back);
	assert_string_equal(again, full);
}

static void bytes_of_a_guest_become_text(void **state)
{
	(void)state;
	AUTO_DONE(record) rec = { 0 };
	assert_int_equal(parse("{\"start\":\"boot\"," MEMBERS "}", &rec, NULL), 0);
	rec.health_message = strdup("a\xff");
	AUTO_FREE char *text = record_to_json(&rec);
	assert_non_null(strstr(text, "\"health_message\": \"a?\""));
}

static void its_memory_is_read_without_the_rest(void **state)
{
	AUTO_DONE(record) rec = { 0 };
	uint32_t mem_mib = 0;
	int64_t vmm_pid = -1;
	int fd = scratch_fd(state);

	assert_int_equal(mkdirat(fd, "vm", 0700), 0);
	AUTO_CLOSE int dir_fd = dir_open_at(fd, "vm");
	assert_int_equal(parse(full, &rec, NULL), 0);
	free(rec.reason); /* comes before the member */
	rec.reason = strdup("\n  \"mem_mib\": 7,\n  \"state\": \"exited\"");
	rec.vmm_pid = 4711;
	assert_int_equal(record_save(dir_fd, &rec, NULL), 0);
	assert_int_equal(record_read_memory(fd, "vm", &mem_mib, &vmm_pid), 0);
	assert_int_equal(mem_mib, 256);
	assert_int_equal(vmm_pid, 4711);
	for (int s = RECORD_STARTING; s <= RECORD_SUSPENDED; s++) {
		rec.state = (enum record_state)s;
		assert_int_equal(record_save(dir_fd, &rec, NULL), 0);
		assert_int_equal(record_read_memory(fd, "vm", &mem_mib, &vmm_pid), 0);
		assert_int_equal(mem_mib, record_is_over(&rec) ? 0 : 256);
	}
	assert_int_equal(file_replace_unsynced_at(dir_fd, RECORD_NAME, "{}", 2, 0600), 0);
	assert_int_equal(record_read_memory(fd, "vm", &mem_mib, &vmm_pid), -EBADMSG);
	assert_int_equal(record_read_memory(fd, "none", &mem_mib, &vmm_pid), -ENOENT);
}

static void damaged_records_name_the_key(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
		int code;
	} cases[] = {
		{ "[]", "expected an object, not an array", -EBADMSG },
		{ "{}", "name: is missing", -EBADMSG },
		{ "{\"schema_version\":2}",
		  "written by a newer mvm (schema version 2; this mvm knows 1)", -EOPNOTSUPP },
		{ "{\"start\":\"x\"," MEMBERS "}", "start: 'x' is not known", -EBADMSG },
		{ "{\"start\":\"boot\",\"exit_code\":256," MEMBERS "}",
		  "exit_code: expected a whole number from 0 to 255", -EBADMSG },
		{ "{\"start\":\"boot\",\"volumes\":[{\"host\":\"/a\"}]," MEMBERS "}",
		  "volumes[0].guest: is missing", -EBADMSG },
		{ "{\"start\":\"boot\",\"volumes\":[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7]," MEMBERS
		  "}",
		  "volumes: more than 16", -EBADMSG },
		{ "{\"start\":\"boot\",\"stages_ns\":{\"x\":\"\"}," MEMBERS "}",
		  "stages_ns.x: not a stage", -EBADMSG },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(record) rec = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(parse(cases[i].text, &rec, &err), cases[i].code);
		assert_true(str_starts(err.text, "instance.json: "));
		assert_string_equal(err.text + strlen("instance.json: "), cases[i].says);
		assert_null(rec.name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_known_and_unknown_survives_a_rewrite),
		cmocka_unit_test(labels_are_an_object),
		cmocka_unit_test(unknown_values_are_null_or_left_out),
		cmocka_unit_test(one_with_a_disk_boots_next),
		cmocka_unit_test(records_of_older_versions_are_understood),
		cmocka_unit_test(usage_is_written_and_not_read),
		cmocka_unit_test(bytes_of_a_guest_become_text),
		cmocka_unit_test(damaged_records_name_the_key),
		cmocka_unit_test_setup_teardown(its_memory_is_read_without_the_rest, scratch_setup,
						scratch_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
