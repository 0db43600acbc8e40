/* SPDX-License-Identifier: Apache-2.0 */
#include "corpus_table.h"

#include "image/oci_archive.h"
#include "image/oci_choose.h"

/* The first byte says which document the rest is. */
static int parse(const char *text, size_t len, struct strbuf *ret_shown, struct mvm_error *err)
{
	AUTO_DONE(oci_index) index = { 0 };
	AUTO_DONE(oci_manifest) manifest = { 0 };
	AUTO_DONE(oci_config) config = { 0 };
	AUTO_DONE(oci_saved_list) saved = { 0 };

	(void)ret_shown;
	switch (text[0]) {
	case 'i':
		return oci_index_parse(text + 1, len - 1, "x", &index, err);
	case 'm':
		return oci_manifest_parse(text + 1, len - 1, "x", &manifest, err);
	case 'c':
		return oci_config_parse(text + 1, len - 1, "x", &config, err);
	default:
		return oci_saved_parse(text + 1, len - 1, "x", &saved, err);
	}
}

static void documents_have_the_documented_result(void **state)
{
	static const struct expected table[] = {
		{ "c-bad-diff-id", -EOPNOTSUPP,
		  "rootfs.diff_ids: 'md5:1234' is no SHA-256 digest" },
		{ "c-command-is-text", -EBADMSG, "config.Cmd: expected an array, not a string" },
		{ "c-empty-program", -EBADMSG, "config: Entrypoint and Cmd name no program" },
		{ "c-good", 0, "" },
		{ "c-long-user", -EBADMSG, "config.User: is longer than 255 bytes" },
		{ "c-long-workdir", -EBADMSG, "config.WorkingDir: is longer than 4094 bytes" },
		{ "c-many-words", -EBADMSG, "config.Cmd: has more than 8192 items" },
		{ "c-no-config", 0, "" },
		{ "c-no-os", -EBADMSG, "os: is missing" },
		{ "c-no-rootfs", -EBADMSG, "rootfs: is missing" },
		{ "c-nul-in-a-word", -EBADMSG, "\\u0000 is not allowed without JSON_ALLOW_NUL" },
		{ "c-null-config", 0, "" },
		{ "c-nulls", 0, "" },
		{ "c-variable-without-a-name", -EBADMSG, "config.Env: [0] has no name" },
		{ "i-array", -EBADMSG, "expected an object" },
		{ "i-cut", -EBADMSG, "premature end of input" },
		{ "i-deep", -EBADMSG, "nested deeper than 64 levels" },
		{ "i-empty", 0, "" },
		{ "i-good", 0, "" },
		{ "i-item-is-text", -EBADMSG, "manifests[0]: expected an object" },
		{ "i-list-is-object", -EBADMSG, "manifests: expected an array, not an object" },
		{ "i-negative-size", -EBADMSG,
		  "manifests[0].size: expected a whole number from 0 to 9223372036854775807" },
		{ "i-no-architecture", -EBADMSG, "manifests[0].platform.architecture: is missing" },
		{ "i-no-list", -EBADMSG, "manifests: is missing" },
		{ "i-no-version", -EBADMSG, "schemaVersion: is missing" },
		{ "i-not-utf8", -EBADMSG, "unable to decode byte 0xff" },
		{ "i-null-annotations", 0, "" },
		{ "i-path-for-a-digest", -EBADMSG,
		  "manifests[0].digest: 'sha256:../../../etc/passwd' is no SHA-256 digest" },
		{ "i-platform-is-text", -EBADMSG,
		  "manifests[0].platform: expected an object, not a string" },
		{ "i-sha512", -EOPNOTSUPP, "is no SHA-256 digest" },
		{ "i-short-digest", -EBADMSG, "is no SHA-256 digest" },
		{ "i-size-is-text", -EBADMSG,
		  "manifests[0].size: expected a whole number from 0 to 9223372036854775807" },
		{ "i-tag-is-number", -EBADMSG,
		  "manifests[0].annotations.org.opencontainers.image.ref.name: expected a string, "
		  "not a number" },
		{ "i-too-many", -EBADMSG, "manifests: has 1025 items, more than 1024" },
		{ "i-twice", -EBADMSG, "duplicate object key" },
		{ "i-upper-case-digest", -EOPNOTSUPP, "is no SHA-256 digest" },
		{ "i-version-1", -EBADMSG, "schemaVersion: is 1, only 2 is known" },
		{ "m-config-is-none", -EBADMSG, "config: is missing" },
		{ "m-config-of-a-chart", -EBADMSG,
		  "config.mediaType: is 'application/vnd.cncf.helm': this is no image of a file "
		  "system" },
		{ "m-encrypted-layer", -EBADMSG,
		  "layers: [0] is 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted', which "
		  "is no layer that mvm reads" },
		{ "m-good", 0, "" },
		{ "m-no-layers", 0, "" },
		{ "m-size-overflows", -EBADMSG, "too big integer" },
		{ "m-too-many-layers", -EBADMSG, "layers: has 257 items, more than 256" },
		{ "s-good", 0, "" },
		{ "s-item-is-text", -EBADMSG, "[0]: expected an object" },
		{ "s-many-layers", -EBADMSG, "[0].Layers: has more than 256 items" },
		{ "s-no-config", -EBADMSG, "[0].Config: is missing" },
		{ "s-no-tags", 0, "" },
		{ "s-object", -EBADMSG, "expected an array of at most 1024 images" },
	};
	(void)state;
	check_corpus("oci", table, MVM_ARRAY_SIZE(table), parse);
}

/* Shows whether each of three names is there. */
static int open_archive(const char *text, size_t len, struct strbuf *ret_shown,
			struct mvm_error *err)
{
	static const char *const names[] = { "index.json", "manifest.json", "a/layer.tar" };
	AUTO(oci_archive) a = NULL;
	uint64_t offset, size;

	put_file("archive", text, len, 0600);
	AUTO_CLOSE int fd = openat(work_fd, "archive", O_RDONLY | O_CLOEXEC);
	int r = oci_archive_open(fd, "x", &a, err);
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(names); i++) {
		int found = oci_archive_find(a, names[i], &offset, &size);
		strbuf_addf(ret_shown, "%s%s", i ? " " : "",
			    found == 0	      ? "there"
			    : found == -ELOOP ? "loop"
					      : "none");
	}
	return r;
}

static void archives_have_the_documented_result(void **state)
{
	static const struct expected table[] = {
		{ "bad-pax", -EBADMSG, "is damaged: an extended header makes no sense" },
		{ "big-pax", -EFBIG, "a header of more than 65536 bytes" },
		{ "cut", -EBADMSG, "is damaged: it ends too early" },
		{ "docker-link", 0, "none there there" },
		{ "empty", -EBADMSG, "is damaged: it ends too early" },
		{ "gzip", -EOPNOTSUPP, "is compressed as a whole" },
		{ "huge-size", -EBADMSG, "is damaged: it ends too early" },
		{ "link-loop", 0, "loop loop none" },
		{ "link-out", 0, "none none none" },
		{ "long-name", 0, "none none none" },
		{ "pax-size", -EBADMSG, "is damaged: it ends too early" },
		{ "plain", 0, "there none none" },
		{ "text", -EBADMSG, "is damaged: it is no tar" },
	};
	(void)state;
	check_corpus("oci_archive", table, MVM_ARRAY_SIZE(table), open_archive);
}

static void links_in_an_archive_lead_to_their_file(void **state)
{
	AUTO(oci_archive) a = NULL;
	AUTO_CLOSE int dir_fd = open_corpus("oci_archive");
	uint64_t offset = 0, size = 0;
	char contents[5];

	(void)state;
	AUTO_CLOSE int fd = openat(dir_fd, "docker-link", O_RDONLY | O_CLOEXEC);
	assert_int_equal(oci_archive_open(fd, "x", &a, NULL), 0);
	assert_int_equal(oci_archive_find(a, "./a//layer.tar", &offset, &size), 0);
	assert_int_equal(size, 5);
	assert_int_equal(pread(fd, contents, 5, (off_t)offset), 5);
	assert_memory_equal(contents, "layer", 5);
}

static void a_configuration_says_how_its_image_is_run(void **state)
{
	static const char text[] =
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"diff_ids\":[]},"
		"\"config\":{\"Entrypoint\":[\"/a\"],\"Cmd\":[\"b\",\"\"],\"User\":\"1:2\","
		"\"StopSignal\":\"SIGQUIT\","
		"\"Env\":[\"A=b=c\",\"NONE\"],\"WorkingDir\":\"srv\"}}";
	AUTO_DONE(oci_config) c = { 0 };

	(void)state;
	assert_int_equal(oci_config_parse(text, sizeof(text) - 1, "x", &c, NULL), 0);
	assert_int_equal(c.command.n, 3);
	assert_string_equal(c.command.v[0], "/a");
	assert_string_equal(c.command.v[1], "b");
	assert_string_equal(c.command.v[2], "");
	assert_int_equal(c.env.n, 1);
	assert_string_equal(c.env.v[0], "A=b=c");
	assert_string_equal(c.workdir, "/srv");
	assert_string_equal(c.user, "1:2");
	assert_int_equal(c.stop_signal, 3);
}

static void a_stop_signal_is_a_name_or_a_number(void **state)
{
	static const struct {
		const char *text;
		unsigned signal; /* 0: refused */
	} cases[] = {
		{ "SIGTERM", 15 },    { "INT", 2 },    { "9", 9 },	    { "64", 64 },
		{ "SIGRTMIN+3", 37 }, { "RTMIN", 34 }, { "", 0 },	    { "SIGRTMIN+30", 64 },
		{ "SIGRTMIN+31", 0 }, { "0", 0 },      { "65", 0 },	    { "-1", 0 },
		{ "sigterm", 0 },     { "SIG", 0 },    { "SIGSIGTERM", 0 }, { "TERM ", 0 },
	};

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(oci_config) c = { 0 };
		char text[256];
		int n = snprintf(text, sizeof(text),
				 "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":"
				 "{\"diff_ids\":[]},\"config\":{\"StopSignal\":\"%s\"}}",
				 cases[i].text);
		int r = oci_config_parse(text, (size_t)n, "x", &c, NULL);
		bool good = cases[i].signal || !*cases[i].text; /* empty is as good as none */
		assert_int_equal(r, good ? 0 : -EBADMSG);
		assert_int_equal(c.stop_signal, good ? cases[i].signal : 0);
	}
}

static void the_platform_that_is_named_comes_before_the_one_that_is_not(void **state)
{
	char amd64[] = "amd64", arm64[] = "arm64", linux_os[] = "linux", other[] = "plan9";
	char tag[] = "v1";
	struct oci_descriptor list[] = {
		{ .media = OCI_MEDIA_OTHER, .os = linux_os, .arch = amd64 },
		{ .media = OCI_MEDIA_MANIFEST, .os = other, .arch = amd64 },
		{ .media = OCI_MEDIA_MANIFEST, .ref_name = tag },
		{ .media = OCI_MEDIA_INDEX, .os = linux_os, .arch = arm64 },
	};
	const struct oci_index index = { .manifests = list, .n = MVM_ARRAY_SIZE(list) };
	const struct oci_descriptor *d = NULL;
	struct mvm_error err = { 0 };

	(void)state;
	assert_int_equal(oci_choose_platform(&index, NULL, "arm64", "x", &d, &err), 0);
	assert_ptr_equal(d, &list[3]);
	assert_int_equal(oci_choose_platform(&index, NULL, "amd64", "x", &d, &err), 0);
	assert_ptr_equal(d, &list[2]);
	list[2].media = OCI_MEDIA_OTHER;
	assert_int_equal(oci_choose_platform(&index, NULL, "amd64", "x", &d, &err), -ENOENT);
	assert_string_equal(err.text, "'x' has no image for linux/amd64; it has plan9/amd64, "
				      "linux/arm64");
	assert_int_equal(oci_choose_platform(&index, tag, "arm64", "x", &d, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_have_the_documented_result),
		cmocka_unit_test(archives_have_the_documented_result),
		cmocka_unit_test(links_in_an_archive_lead_to_their_file),
		cmocka_unit_test(a_configuration_says_how_its_image_is_run),
		cmocka_unit_test(a_stop_signal_is_a_name_or_a_number),
		cmocka_unit_test(the_platform_that_is_named_comes_before_the_one_that_is_not),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}
