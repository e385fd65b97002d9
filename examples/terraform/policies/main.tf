# The IAM policies of Chaski's roles, as `chaski iam policy` prints them. Needs no provider.

locals {
  # The first 16 digits of the hash of installation and namespace, with a zero byte between them, begin all names of a namespace.
  prefix = { for namespace in var.namespaces : namespace => "chaski-${substr(sha256("${var.installation}\u0000${namespace}"), 0, 16)}-" }

  sqs      = "arn:${var.partition}:sqs:${var.region}:${var.account}"
  dynamodb = "arn:${var.partition}:dynamodb:${var.region}:${var.account}:table"

  read_dead_letters = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
  mark_dead_letters = sort(concat(local.read_dead_letters, ["dynamodb:DeleteItem", "dynamodb:UpdateItem"]))

  permissions = {
    worker = [
      {
        sid     = "DeliverMessages"
        actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        types   = ["queue"]
      },
      { sid = "KeepDeadLetters", actions = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"], types = ["table"] },
    ]
    replayer = [
      { sid = "ReadAndMarkDeadLetters", actions = local.mark_dead_letters, types = ["table", "index"] },
      { sid = "SendMessages", actions = ["sqs:SendMessage"], types = ["queue"] },
    ]
    ingest = [
      { sid = "SendMessages", actions = ["sqs:SendMessage"], types = ["queue"] },
    ]
    console = [
      { sid = "ReadAndMarkDeadLetters", actions = local.mark_dead_letters, types = ["table", "index"] },
      { sid = "CountAndSendMessages", actions = ["sqs:GetQueueAttributes", "sqs:SendMessage"], types = ["queue"] },
    ]
  }

  by_name = {
    for role in ["worker", "replayer"] : role => {
      for namespace, prefix in local.prefix : namespace => {
        Version = "2012-10-17"
        Statement = [for each in local.permissions[role] : {
          Sid    = each.sid
          Effect = "Allow"
          Action = each.actions
          Resource = concat(
            contains(each.types, "queue") ? ["${local.sqs}:${prefix}*"] : [],
            contains(each.types, "table") ? ["${local.dynamodb}/${prefix}*"] : [],
            contains(each.types, "index") ? ["${local.dynamodb}/${prefix}*/index/*"] : [],
          )
        }]
      }
    }
  }

  of_installation = {
    for role in ["ingest", "console"] : role => {
      Version = "2012-10-17"
      Statement = [for each in local.permissions[role] : {
        Sid    = each.sid
        Effect = "Allow"
        Action = each.actions
        Resource = concat(
          contains(each.types, "queue") ? ["${local.sqs}:chaski-*"] : [],
          contains(each.types, "table") ? ["${local.dynamodb}/chaski-*"] : [],
          contains(each.types, "index") ? ["${local.dynamodb}/chaski-*/index/*"] : [],
        )
        Condition = { StringEquals = {
          "aws:ResourceTag/chaski.dev/managed-by" = "chaski"
          "aws:ResourceTag/chaski.dev/owner"      = var.installation
        } }
      }]
    }
  }

  operator = {
    Version = "2012-10-17"
    Statement = [
      { Sid = "FindQueues", Effect = "Allow", Action = ["sqs:ListQueues"], Resource = "*" },
      {
        Sid      = "CreateAndReadQueues"
        Effect   = "Allow"
        Action   = ["sqs:CreateQueue", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags", "sqs:TagQueue"]
        Resource = ["${local.sqs}:chaski-*"]
      },
      {
        Sid      = "ChangeOwnQueues"
        Effect   = "Allow"
        Action   = ["sqs:DeleteQueue", "sqs:SetQueueAttributes"]
        Resource = ["${local.sqs}:chaski-*"]
        Condition = { StringEquals = {
          "aws:ResourceTag/chaski.dev/managed-by" = "chaski"
          "aws:ResourceTag/chaski.dev/owner"      = var.installation
        } }
      },
      {
        Sid    = "CreateAndChangeTables"
        Effect = "Allow"
        Action = [
          "dynamodb:CreateTable", "dynamodb:DeleteTable", "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable",
          "dynamodb:DescribeTimeToLive", "dynamodb:ListTagsOfResource", "dynamodb:TagResource",
          "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive",
        ]
        Resource = ["${local.dynamodb}/chaski-*"]
      },
    ]
  }
}
