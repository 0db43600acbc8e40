/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of copies into and out of instances. */
#include "instance/copy.h"

#include "base/error.h"
#include "base/progress.h"
#include "instance/instance.h"

static const struct mvm_copy_options defaults = {
	.stream_fd = -1,
	.timeout_ms = -1,
	.cancel_fd = -1,
};

static int tell(int r, const struct strbuf *text, const struct mvm_progress *note)
{
	if (r == 0 && text->len)
		progress_note(note, "%s", text->data);
	return r;
}

int mvm_instance_copy_in(struct mvm_instance *i, const char *host_path, const char *guest_path,
			 const struct mvm_copy_options *options, const struct mvm_progress *note,
			 struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	int r = copy_in(&i->control, host_path, guest_path, options ? options : &defaults, &text,
			err);
	return tell(r, &text, note);
}

int mvm_instance_copy_out(struct mvm_instance *i, const char *guest_path, const char *host_path,
			  const struct mvm_copy_options *options, const struct mvm_progress *note,
			  struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	int r = copy_out(&i->control, guest_path, host_path, options ? options : &defaults, &text,
			 err);
	return tell(r, &text, note);
}
