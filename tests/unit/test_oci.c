/* SPDX-License-Identifier: Apache-2.0 */
#include "corpus_table.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "codec/sha256.h"
#include "image/oci.h"
#include "image/oci_archive.h"
#include "image/oci_choose.h"
#include "image/oci_cpu.h"

/* Parse a document.  The first byte is its kind. */
static int parse(const char *text, size_t len, struct strbuf *ret_shown, struct mvm_error *err)
{
	AUTO_DONE(oci_index) index = { 0 };
	AUTO_DONE(oci_manifest) manifest = { 0 };
	AUTO_DONE(oci_config) config = { 0 };
	AUTO_DONE(oci_saved_list) saved = { 0 };
	struct oci_descriptor file;

	int r;

	switch (text[0]) {
	case 'i':
		r = oci_index_parse(text + 1, len - 1, "x", &index, err);
		for (size_t i = 0; i < index.n; i++) {
			if (index.manifests[i].problem)
				strbuf_addf(ret_shown, "%s", index.manifests[i].problem);
		}
		return r;
	case 'm':
		return oci_manifest_parse(text + 1, len - 1, "x", &manifest, err);
	case 'f':
		r = oci_file_parse(text + 1, len - 1, "x", &file, err);
		if (r == 0)
			strbuf_addf(ret_shown, "%" PRIu64, file.size);
		return r;
	case 'c':
		r = oci_config_parse(text + 1, len - 1, "x", &config, err);
		for (size_t i = 0; i < config.notes.n; i++)
			strbuf_adds(ret_shown, config.notes.v[i]);
		return r;
	default:
		return oci_saved_parse(text + 1, len - 1, "x", &saved, err);
	}
}

static const struct expected documents[] = {
	{ "c-bad-diff-id", -EOPNOTSUPP, "rootfs.diff_ids: 'md5:1234' is no SHA-256 digest" },
	{ "c-bad-signal", 0,
	  "the image's StopSignal 'SIGNONESIGNONESIGNONESIGNONESIGNONESIGNO' is no "
	  "signal: stop sends SIGTERM" },
	{ "c-command-is-text", -EBADMSG, "config.Cmd: expected an array, not a string" },
	{ "c-empty-program", 0, "" },
	{ "c-empty-words", 0,
	  "the image's Entrypoint and Cmd are not used: their first word, the program, is "
	  "empty" },
	{ "c-good", 0, "" },
	{ "c-long-user", -EBADMSG, "config.User: is longer than 255 bytes" },
	{ "c-long-workdir", -EBADMSG, "config.WorkingDir: is longer than 4094 bytes" },
	{ "c-many-words", -EBADMSG, "config.Cmd: has more than 8192 items" },
	{ "c-no-config", 0, "" },
	{ "c-no-os", 0, "" },
	{ "c-no-platform", 0, "" },
	{ "c-no-rootfs", -EBADMSG, "rootfs: is missing" },
	{ "c-nul-in-a-word", -EBADMSG, "\\u0000 is not allowed without JSON_ALLOW_NUL" },
	{ "c-null-config", 0, "" },
	{ "c-nulls", 0, "" },
	{ "c-variable-without-a-name", -EBADMSG, "config.Env: [0] has no name" },
	{ "f-good", 0, "3" },
	{ "f-image", -EINVAL, "'x' is a container image" },
	{ "f-none", -EINVAL, "'x' has 0 files, not one" },
	{ "f-path-for-a-digest", -EBADMSG, "layers[0].digest: 'sha256:../x' is no SHA-256 digest" },
	{ "f-two", -EINVAL, "'x' has 2 files, not one" },
	{ "i-array", -EBADMSG, "expected an object" },
	{ "i-artifact", 0, "" },
	{ "i-cut", -EBADMSG, "premature end of input" },
	{ "i-deep", -EBADMSG, "nested deeper than 64 levels" },
	{ "i-empty", 0, "" },
	{ "i-empty-platform", 0, "" },
	{ "i-good", 0, "" },
	{ "i-item-is-text", 0, "x: manifests[0]: expected an object" },
	{ "i-list-is-object", -EBADMSG, "manifests: expected an array, not an object" },
	{ "i-names", 0, "" },
	{ "i-negative-size", 0,
	  "x: manifests[0].size: expected a whole number from 0 to 9223372036854775807" },
	{ "i-no-architecture", 0, "" },
	{ "i-no-list", -EBADMSG, "manifests: is missing" },
	{ "i-no-version", -EBADMSG, "schemaVersion: is missing" },
	{ "i-not-utf8", -EBADMSG, "unable to decode byte 0xff" },
	{ "i-null-annotations", 0, "" },
	{ "i-one-is-bad", 0, "x: manifests[0].mediaType: is missing" },
	{ "i-path-for-a-digest", 0,
	  "x: manifests[0].digest: 'sha256:../../../etc/passwd' is no SHA-256 digest" },
	{ "i-platform-is-text", 0, "x: manifests[0].platform: expected an object, not a string" },
	{ "i-sha512", 0,
	  "x: manifests[0].digest: "
	  "'sha512:"
	  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef012345678'"
	  " is no SHA-256 digest" },
	{ "i-short-digest", 0,
	  "x: manifests[0].digest: "
	  "'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde' is no "
	  "SHA-256 digest" },
	{ "i-size-is-text", 0,
	  "x: manifests[0].size: expected a whole number from 0 to 9223372036854775807" },
	{ "i-tag-is-number", 0,
	  "x: manifests[0].annotations.org.opencontainers.image.ref.name: expected a "
	  "string, not a number" },
	{ "i-too-many", -EBADMSG, "manifests: has 1025 items, more than 1024" },
	{ "i-twice", -EBADMSG, "duplicate object key" },
	{ "i-upper-case-digest", 0,
	  "x: manifests[0].digest: "
	  "'SHA256:0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF' is no "
	  "SHA-256 digest" },
	{ "i-version-1", -EBADMSG, "schemaVersion: is 1, only 2 is known" },
	{ "m-config-is-none", -EBADMSG, "config: is missing" },
	{ "m-config-of-a-chart", -EBADMSG,
	  "config.mediaType: is 'application/vnd.cncf.helm': this is no container "
	  "image" },
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

static void documents_have_the_documented_result(void **state)
{
	(void)state;
	check_corpus("oci", documents, MVM_ARRAY_SIZE(documents), parse);
}

/* Open an archive, and show for three names whether it has them. */
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
		const char *word = found == -ELOOP ? "loop" : "none";
		strbuf_addf(ret_shown, "%s%s", i ? " " : "", found == 0 ? "there" : word);
	}
	return r;
}

static void archives_have_the_documented_result(void **state)
{
	static const struct expected table[] = {
		{ "bad-pax", -EBADMSG, "is damaged: an extended header is invalid" },
		{ "big-pax", -EFBIG, "a header has more than 65536 bytes" },
		{ "cut", -EBADMSG, "is damaged: it ends too early" },
		{ "docker-link", 0, "none there there" },
		{ "empty", -EBADMSG, "is no tar archive" },
		{ "gzip", -EOPNOTSUPP, "is compressed as a whole" },
		{ "huge-size", -EBADMSG, "is damaged: it ends too early" },
		{ "link-loop", 0, "loop loop none" },
		{ "link-out", 0, "none none none" },
		{ "long-name", 0, "none none none" },
		{ "pax-size", -EBADMSG, "is damaged: it ends too early" },
		{ "plain", 0, "there none none" },
		{ "text", -EBADMSG, "is no tar archive" },
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
		unsigned signal; /* 0: none, or an invalid one, which is noted */
	} cases[] = {
		{ "SIGTERM", 15 },
		{ "INT", 2 },
		{ "9", 9 },
		{ "+3", 3 },
		{ "03", 3 },
		{ "64", 64 },
		{ "SIGRTMIN+3", 37 },
		{ "RTMIN", 34 },
		{ "", 0 },
		{ "SIGRTMIN+30", 64 },
		{ "SIGRTMAX-3", 61 },
		{ "rtmax", 64 },
		{ "SIGRTMAX-30", 34 },
		{ "sigrtmin+1", 35 },
		{ "sigterm", 15 },
		{ "Term", 15 },
		{ "sigCLD", 17 },
		{ "IOT", 6 },
		{ "SIGPOLL", 29 },
		{ "io", 29 },
		{ "winch", 28 },
		{ "STKFLT", 16 },
		{ "SIGRTMIN+31", 0 },
		{ "SIGRTMAX-31", 0 },
		{ "0", 0 },
		{ "65", 0 },
		{ "-1", 0 },
		{ "+", 0 },
		{ "++3", 0 },
		{ "+TERM", 0 },
		{ "SIG", 0 },
		{ "SIGSIGTERM", 0 },
		{ "TERM ", 0 },
		{ "SIGRTMIN-1", 0 },
		{ "SIG15", 0 },
	};

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(oci_config) c = { 0 };
		char text[256];
		int n = snprintf(text, sizeof(text),
				 "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":"
				 "{\"diff_ids\":[]},\"config\":{\"StopSignal\":\"%s\"}}",
				 cases[i].text);
		assert_int_equal(oci_config_parse(text, (size_t)n, "x", &c, NULL), 0);
		assert_int_equal(c.stop_signal, cases[i].signal);
		assert_int_equal(c.notes.n, !cases[i].signal && *cases[i].text);
	}
}

/* An index of up to eight entries, with the fields that the choice depends on. */
struct sample {
	const char *os, *arch, *variant, *ref_name, *image_name;
	const char *problem;
	bool other;	/* not a manifest */
	uint8_t digest; /* its first byte; 0: a unique digest */
};

static size_t make_index(const struct sample *from, struct oci_descriptor ret[8],
			 struct oci_index *index)
{
	size_t n = 0;

	for (; n < 8 && (from[n].os || from[n].arch || from[n].ref_name || from[n].image_name ||
			 from[n].digest);
	     n++) {
		const struct sample *s = &from[n];
		ret[n] = (struct oci_descriptor){
			.media = s->other ? OCI_MEDIA_OTHER : OCI_MEDIA_MANIFEST,
			.os = (char *)(uintptr_t)s->os,
			.arch = (char *)(uintptr_t)s->arch,
			.variant = (char *)(uintptr_t)s->variant,
			.ref_name = (char *)(uintptr_t)s->ref_name,
			.image_name = (char *)(uintptr_t)s->image_name,
			.problem = (char *)(uintptr_t)s->problem,
			.problem_code = s->problem ? -EBADMSG : 0,
			.digest.bytes = { s->digest ? s->digest : (uint8_t)(0xa0 + n) },
		};
	}
	*index = (struct oci_index){ .manifests = ret, .n = n };
	return n;
}

static const struct {
	struct sample index[8];
	const char *tag;   /* NULL: the user gives none */
	int code;	   /* a number of images, or an error */
	const char *meant; /* the letters of the chosen entries, or a part of the error */
} selections[] = {
	{ { { .digest = 1 } }, NULL, 1, "a" },
	{ { { .ref_name = "v1" } }, NULL, 1, "a" },
	{ { { .digest = 1 }, { .digest = 2 } }, NULL, 2, "ab" },
	{ { { .ref_name = "v1" }, { .ref_name = "v2" } },
	  NULL,
	  -EINVAL,
	  "it has v1 (a00000000000), v2 (a10000000000)" },
	{ { { .ref_name = "v1", .digest = 7 }, { .ref_name = "v2", .digest = 7 } }, NULL, 2, "ab" },
	{ { { .ref_name = "v1" }, { .ref_name = "latest" } }, NULL, 1, "b" },
	{ { { .ref_name = "v1" }, { .digest = 9 } },
	  NULL,
	  -EINVAL,
	  "one without a name (090000000000)" },
	{ { { .ref_name = "v1" }, { .digest = 9, .other = true } }, NULL, 1, "a" },
	{ { { .ref_name = "v1" }, { .ref_name = "v2" } }, "v2", 1, "b" },
	{ { { .ref_name = "v1" }, { .ref_name = "v1" } }, "v1", 2, "ab" },
	{ { { .ref_name = "v1" } },
	  "v3",
	  -ENOENT,
	  "'x' has no image named 'v3'; it has v1 (a00000000000)" },
	{ { { .ref_name = "latest", .image_name = "docker.io/library/web:latest" },
	    { .ref_name = "latest", .image_name = "docker.io/library/db:latest" } },
	  "latest",
	  2,
	  "ab" },
	{ { { .ref_name = "latest", .image_name = "docker.io/library/web:latest" },
	    { .ref_name = "latest", .image_name = "docker.io/library/db:latest" } },
	  "db",
	  1,
	  "b" },
	{ { { .ref_name = "latest", .image_name = "docker.io/library/web:latest" },
	    { .ref_name = "latest", .image_name = "docker.io/library/db:latest" } },
	  "library/web:latest",
	  1,
	  "a" },
	{ { { .image_name = "docker.io/library/web:v1" },
	    { .image_name = "docker.io/library/web:v2" } },
	  "docker.io/library/web:v2",
	  1,
	  "b" },
	{ { { .image_name = "a/web:v1" }, { .ref_name = "v1" } }, "v1", 1, "b" },
	{ { { .image_name = "a/web:v1" } }, "eb:v1", -ENOENT, "no image named 'eb:v1'" },
	{ { { .image_name = "a/web:v1" } }, "web", -ENOENT, "no image named 'web'" },
	{ { { .digest = 0xab }, { .digest = 0xcd } }, "sha256:cd00000", 1, "b" },
	{ { { .digest = 0xab }, { .digest = 0xcd } }, "@sha256:ab0000000000", 1, "a" },
	{ { { .digest = 0xab } }, "sha256:ab", -ENOENT, "no image named" },
	{ { { .digest = 1, .other = true } }, NULL, -ENOENT, "'x' has no container image" },
	{ { { .digest = 1, .other = true, .problem = "makes no sense" } },
	  NULL,
	  -EBADMSG,
	  "makes no sense" },
};

static void a_name_selects_the_images_that_it_fits_best(void **state)
{

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(selections); i++) {
		struct oci_descriptor list[8];
		struct mvm_error err = { 0 };
		struct oci_index index;
		char meant[9] = "";
		size_t n = make_index(selections[i].index, list, &index);
		int r = oci_choose_name(&index, selections[i].tag, "x", &err);

		for (size_t k = 0; r > 0 && k < n; k++) {
			if (list[k].meant)
				strcat(meant, (const char[]){ (char)('a' + k), '\0' });
		}
		if (r != selections[i].code ||
		    !strstr(r > 0 ? meant : err.text, selections[i].meant))
			print_error("case %zu: %d '%s' '%s'\n", i, r, meant, err.text);
		assert_int_equal(r, selections[i].code);
		assert_non_null(strstr(r > 0 ? meant : err.text, selections[i].meant));
	}
}

static const struct {
	struct sample index[8];
	const char *arch;
	unsigned level;
	bool first;
	int chosen; /* an index, or an error */
	const char *says;
} platforms[] = {
#define L .os = "linux", .arch = "amd64"
	{ { { L }, { .os = "linux", .arch = "arm64" } }, "arm64", 1, false, 1, "" },
	{ { { .digest = 1 }, { L } }, "amd64", 1, false, 1, "" },
	{ { { .digest = 1 }, { .os = "linux", .arch = "s390x" } }, "amd64", 1, false, 0, "" },
	{ { { .os = "Linux", .arch = "x86_64" } }, "amd64", 1, false, 0, "" },
	{ { { L, .variant = "v1" }, { L, .variant = "v3" }, { L, .variant = "v2" } },
	  "amd64",
	  3,
	  false,
	  1,
	  "" },
	{ { { L, .variant = "v4" }, { L, .variant = "v2" }, { L, .variant = "v1" } },
	  "amd64",
	  3,
	  false,
	  1,
	  "" },
	{ { { L, .variant = "v3" }, { L } }, "amd64", 2, false, 1, "" },
	{ { { L, .variant = "v4" } },
	  "amd64",
	  3,
	  false,
	  -ENOENT,
	  "has no image for linux/amd64; it has one without a name (a00000000000, "
	  "linux/amd64/v4)" },
	{ { { L }, { L } },
	  "amd64",
	  3,
	  false,
	  -EINVAL,
	  "has several images that fit; it has one without a name "
	  "(a00000000000, linux/amd64), one without a name (a10000000000, linux/amd64)" },
	{ { { L }, { L } }, "amd64", 3, true, 0, "" },
	{ { { L, .digest = 5 }, { L, .digest = 5 } }, "amd64", 3, false, 0, "" },
	{ { { L, .variant = "v1" }, { L } }, "amd64", 3, false, -EINVAL, "several images" },
	{ { { L, .problem = "bad" }, { L } }, "amd64", 3, false, 1, "" },
	{ { { .os = "linux", .arch = "arm64", .problem = "bad" }, { L } },
	  "amd64",
	  3,
	  false,
	  1,
	  "" },
	{ { { L, .problem = "bad" } }, "amd64", 3, false, -EBADMSG, "bad" },
	{ { { .os = "unknown", .arch = "unknown" }, { L } }, "amd64", 3, false, 1, "" },
	{ { { .os = "plan9", .arch = "amd64" }, { .os = "linux", .arch = "arm64" } },
	  "amd64",
	  3,
	  false,
	  -ENOENT,
	  "plan9/amd64), one without a name (a10000000000, linux/arm64)" },
#undef L
};

static void the_platform_is_chosen_in_any_order(void **state)
{

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(platforms); i++) {
		const struct oci_platform p = { .arch = platforms[i].arch,
						.amd64_level = platforms[i].level };
		const struct oci_descriptor *d = NULL;
		struct oci_descriptor list[8];
		struct mvm_error err = { 0 };
		struct oci_index index;

		make_index(platforms[i].index, list, &index);
		oci_choose_all(&index);
		int r = oci_choose_platform(&index, &p, platforms[i].first, "x", &d, &err);
		if (r == 0)
			r = (int)(d - list);
		if (r != platforms[i].chosen || !strstr(err.text, platforms[i].says))
			print_error("case %zu: %d '%s'\n", i, r, err.text);
		assert_int_equal(r, platforms[i].chosen);
		assert_non_null(strstr(err.text, platforms[i].says));
	}
}

static void flags_make_a_level_of_amd64(void **state)
{
	(void)state;
#define V2 "flags\t\t: fpu cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2"
#define V3 V2 " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
	assert_int_equal(oci_cpu_level(""), 1);
	assert_int_equal(oci_cpu_level("flags\t\t: fpu sse4_1x pni"), 1);
	assert_int_equal(oci_cpu_level(V2), 2);
	assert_int_equal(oci_cpu_level(V2 " avx2"), 2);
	assert_int_equal(oci_cpu_level(V3), 3);
	assert_int_equal(oci_cpu_level(V3 " avx512f avx512bw avx512cd avx512dq avx512vl"), 4);
	assert_in_range(oci_guest_level(), 1, 4);
}

/* Write a blob of the layout in the work folder. */
static void put_blob(const void *data, size_t len, char ret_hex[DIGEST_HEX_SIZE])
{
	struct mvm_digest digest;

	sha256_buf(data, len, &digest);
	digest_hex(&digest, ret_hex);
	AUTO_FREE char *name = str_printf("layout/blobs/sha256/%s", ret_hex);
	put_file(name, data, len, 0600);
}

/* Write a layout whose only layer is an empty tar, and name the layer's file. */
static char *put_layout(void)
{
	static const char *const folders[] = { "layout", "layout/blobs", "layout/blobs/sha256" };
	static const char zeros[1024];
	char layer[DIGEST_HEX_SIZE], config[DIGEST_HEX_SIZE], manifest[DIGEST_HEX_SIZE];

	tree_remove_at(work_fd, "layout"); /* of an earlier test */
	for (size_t i = 0; i < MVM_ARRAY_SIZE(folders); i++)
		assert_int_equal(mkdirat(work_fd, folders[i], 0700), 0);
	put_blob(zeros, sizeof(zeros), layer);
	AUTO_FREE char *c = str_printf("{\"os\":\"linux\",\"architecture\":\"amd64\","
				       "\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}",
				       layer);
	put_blob(c, strlen(c), config);
	AUTO_FREE char *m = str_printf(
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":"
		"\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:%s\","
		"\"size\":%zu},\"layers\":[{\"mediaType\":"
		"\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:%s\","
		"\"size\":1024}]}",
		config, strlen(c), layer);
	put_blob(m, strlen(m), manifest);
	AUTO_FREE char *index = str_printf(
		"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
		"\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:%s\","
		"\"size\":%zu}]}",
		manifest, strlen(m));
	put_file("layout/index.json", index, strlen(index), 0600);
	put_text("layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 0600);
	return str_printf("layout/blobs/sha256/%s", layer);
}

/* Change a layer before or after opening the image, then build it. */
static int build_changed(bool before, bool cut, struct mvm_error *err)
{
	static const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	AUTO_CLOSE int out = memfd_create("image", MFD_CLOEXEC);
	AUTO_FREE char *path = str_printf("/proc/self/fd/%d/layout", work_fd);
	AUTO_FREE char *name = put_layout();
	AUTO(oci_image) image = NULL;

	AUTO_CLOSE int layer = openat(work_fd, name, O_WRONLY | O_CLOEXEC);
	assert_true(out >= 0 && layer >= 0);
	assert_int_equal(futimens(layer, long_ago), 0);
	if (before)
		assert_int_equal(pwrite(layer, "x", 1, 0), 1);
	assert_int_equal(oci_open(OCI_LAYOUT, path, "amd64", &image, err), 0);
	if (!before && cut)
		assert_int_equal(ftruncate(layer, 10), 0);
	else if (!before)
		assert_int_equal(pwrite(layer, "x", 1, 0), 1);
	return oci_write_image(image, out, NULL, err);
}

static void a_layer_that_changes_is_not_called_damaged(void **state)
{
	struct mvm_error err = { 0 };

	(void)state;
	assert_int_equal(build_changed(true, false, &err), -EBADMSG);
	assert_int_equal(build_changed(false, false, &err), -EBUSY);
	assert_non_null(strstr(err.text, "changed while it was read"));
	assert_int_equal(build_changed(false, true, &err), -EBUSY);
	assert_non_null(strstr(err.text, "changed while it was read"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_have_the_documented_result),
		cmocka_unit_test(archives_have_the_documented_result),
		cmocka_unit_test(links_in_an_archive_lead_to_their_file),
		cmocka_unit_test(a_configuration_says_how_its_image_is_run),
		cmocka_unit_test(a_stop_signal_is_a_name_or_a_number),
		cmocka_unit_test(a_name_selects_the_images_that_it_fits_best),
		cmocka_unit_test(the_platform_is_chosen_in_any_order),
		cmocka_unit_test(flags_make_a_level_of_amd64),
		cmocka_unit_test(a_layer_that_changes_is_not_called_damaged),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}
