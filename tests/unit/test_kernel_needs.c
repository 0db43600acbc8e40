/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of a build on a kernel that lacks features. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "template/kernel_needs.h"

static int count_note(void *arg, const struct mvm_progress_event *event)
{
	unsigned *n = arg;
	assert_int_equal(event->kind, MVM_PROGRESS_NOTE);
	++*n;
	return 0;
}

/* Number of backends that are reported unable to run a kernel without any feature. */
static unsigned unable(enum mvm_initrd initrd, bool pvh)
{
	unsigned n = 0;
	const struct mvm_progress progress = { .fn = count_note, .arg = &n };
	const struct mvm_template_spec spec = { .template_id = (char[]){ "t" },
						.run = { .initrd = initrd } };
	const struct mvm_build_options options = { 0 };
	struct build_kernel kernel = { .known = true, .pvh = pvh };
	for (unsigned i = 0; i < MVM_KERNEL_FEATURES; i++)
		kernel.features[i] = MVM_KERNEL_NO;
	assert_int_equal(kernel_needs_check(&spec, &kernel, &options, &progress, NULL), 0);
	return n;
}

static void an_initrd_of_the_image_may_bring_all_but_the_entry_point(void **state)
{
	(void)state;
	assert_int_equal(unable(MVM_INITRD_UNSET, true), 2);
	assert_int_equal(unable(MVM_INITRD_IMAGE, true), 0);
	assert_int_equal(unable(MVM_INITRD_IMAGE, false), 1); /* QEMU boots an ELF by PVH only */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_initrd_of_the_image_may_bring_all_but_the_entry_point),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
