# SPDX-License-Identifier: Apache-2.0
"""The report in the forms that CI systems read: each module that binds ``OUTPUTS`` adds an option to the commands."""
