"""IAM policies of Chaski's roles, bound to one namespace by names or by tags, and trust policies for Pods. Pure.

Actions, resource types and condition keys are those of AWS's Service Authorization Reference; `docs/iam/actions.md` has
them as a table.
"""
