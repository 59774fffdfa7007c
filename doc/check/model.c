/* SPDX-License-Identifier: MIT */
/* Prints the model that auto takes here; fails, and says why, if none. */
#include <stdio.h>

#include <zsync.h>

static int print_model(void *arg)
{
	struct zs_runtime_info info;

	(void)arg;
	zs_runtime_info(NULL, &info);
	puts(info.model_name);
	return 0;
}

int main(void)
{
	int ret = zs_run(NULL, print_model, NULL);

	if (ret < 0)
		fprintf(stderr, "%s\n", zs_explain(ret));
	return ret < 0;
}
