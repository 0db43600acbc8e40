/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "build/builder.h"

static int build(const char *ref, const struct build_lock *lock, struct mvm_error *err)
{
	AUTO_DONE(build_product) product = BUILD_PRODUCT_NONE;
	AUTO_CLOSE int out = memfd_create("image", MFD_CLOEXEC);
	const struct builder *builder;
	struct build_source source = { .flake_ref = ref };

	assert_true(out >= 0);
	builder_find(ref, &builder, &source.path);
	return builder->build(&source, lock, out, -1, &product, err);
}

static void a_tar_that_changed_is_not_called_damaged(void **state)
{
	(void)state;
	static const char text[] = "this is no tar";
	AUTO_CLOSE int fd = memfd_create("tar", MFD_CLOEXEC);
	AUTO_FREE char *ref = str_printf("tar:/proc/self/fd/%d", fd);
	AUTO_DONE(build_lock) lock = { 0 };
	struct mvm_error err = { 0 };
	const struct builder *builder;
	struct build_source source = { .flake_ref = ref };

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	builder_find(ref, &builder, &source.path);
	assert_int_equal(builder->lock(&source, &lock, &err), 0);
	assert_int_equal(build(ref, &lock, &err), -EBADMSG);
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(build(ref, &lock, &err), -EBUSY);
	assert_non_null(strstr(err.text, "changed while it was read"));
}

static void an_image_that_is_not_fetched_is_told_how_to_get(void **state)
{
	static const struct {
		const char *ref;
		int code;
		const char *says;
	} cases[] = {
		{ "dir:x", 0, "" },
		{ "docker://debian:12", 0, "" },
		{ "docker-daemon:web:v1", -EOPNOTSUPP,
		  "'skopeo copy docker-daemon:web:v1 oci:web:v1'" },
		{ "docker:debian", -EINVAL,
		  "'docker:debian' names no image: write docker://NAME:TAG" },
		{ "docker-daemon:a;b", -EINVAL, "names no image" },
		{ "docker-daemon:web:", -EINVAL, "names no image: write docker-daemon:NAME:TAG" },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct mvm_error err = { 0 };
		assert_int_equal(builder_refuse_remote(cases[i].ref, &err), cases[i].code);
		assert_non_null(strstr(err.text, cases[i].says));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_that_is_not_fetched_is_told_how_to_get),
		cmocka_unit_test(a_tar_that_changed_is_not_called_damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
