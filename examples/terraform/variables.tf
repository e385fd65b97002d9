variable "cluster" {
  description = "Name of the EKS cluster."
  type        = string
}

variable "installation" {
  description = "Name of the installation: `installation` of the chart, by default the UID of the Namespace kube-system."
  type        = string
}

variable "routes" {
  description = "Names of the routes, by namespace: { helpdesk = [\"conversations\"] }. A ServiceAccount of a route's own belongs here as well, without the chaski- of its name."
  type        = map(set(string))
}

variable "chart_namespace" {
  description = "Namespace that the chart is installed in."
  type        = string
  default     = "chaski-system"
}

variable "release" {
  description = "Name of the Helm release, with which the names of its ServiceAccounts begin."
  type        = string
  default     = "chaski"
}

variable "console" {
  description = "Create a role for the console."
  type        = bool
  default     = false
}

variable "region" {
  description = "AWS region of queues and tables; the provider's by default."
  type        = string
  default     = null
}

variable "kms_key_arns" {
  description = "ARNs of the KMS keys of queues and tables: `aws.kmsKeyArn` of the chart, and those of `spec.encryption` of routes."
  type        = list(string)
  default     = []
}

variable "name_prefix" {
  description = "With which the names of the roles begin; different for each cluster of an account."
  type        = string
  default     = "chaski-"
}

variable "tags" {
  description = "Tags of roles and associations, such as those that bills are split by."
  type        = map(string)
  default     = {}
}
